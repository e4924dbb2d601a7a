"""One durable handler's deliveries.

The courier reads the journal from the handler's cursor and gives every event that the handler wants to the lane of its
subject; a lane works one event at a time.  A failed event stays at the head of its lane until it succeeds or is given up;
the other lanes go on.  What is done, parked and remembered is the ledger's (ledger.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from hawse.supervisor import faults
from hawse.supervisor.core import cause
from hawse.supervisor.core.errors import Gone, HawseError, NotFound
from hawse.supervisor.core.events import Event, HookDead, HookFailed
from hawse.supervisor.dispatch.handler import GiveUp, Handler
from hawse.supervisor.dispatch.ledger import STORE_RETRY, Job, Ledger
from hawse.supervisor.parts import Context
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

ERROR_LENGTH: Final = 2000  # characters of an error that are kept

log = structlog.get_logger()


class Courier:
    """Made by the dispatcher: `begin`, then `run` in a task."""

    def __init__(
        self,
        handler: Handler,
        store: Store,
        context: Context,
        *,
        after: int,
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        self.ledger = Ledger(handler.name, store)
        self._handler = handler
        self._store = store
        self._context = context
        self._after = after
        self._sleep = sleep
        self._random = random
        self._lanes: dict[str, deque[Job]] = {}
        self._limit = anyio.Semaphore(handler.concurrency)
        self._scope = anyio.CancelScope()
        self._stopped = anyio.Event()
        self._running = False

    async def begin(self) -> None:
        """Register in the store, or load what is there."""
        for job in await self.ledger.load(self._after):
            self._lanes.setdefault(job.subject, deque()).append(job)

    async def run(self) -> None:
        """Run until cancelled or stopped; nothing that the handler does ends it."""
        self._running = True
        try:
            with self._scope:
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self.ledger.keep_flushing, self._sleep)
                    for subject in self._lanes:
                        self._tasks.start_soon(self._work, subject)
                    while True:
                        try:
                            await self._read()
                        except Gone as e:
                            await self._skip_pruned(e)
        finally:
            await self.ledger.flush_last()
            self._stopped.set()

    async def stop(self) -> None:
        """Cancel what runs; what was not done stays undone in the store."""
        self._scope.cancel()
        if self._running:
            await self._stopped.wait()
        self.ledger.close()

    async def retry(self, seq: int) -> None:
        """Deliver a dead letter once more, with all its attempts.  Raises NotFound."""
        name = self._handler.name

        def revive(tx: Tx) -> str:
            for dead in tx.deliveries(name, dead=True):
                if dead.seq == seq:
                    tx.put_delivery(Delivery(handler=name, seq=seq, subject=dead.subject, error=dead.error))
                    return dead.subject
            raise NotFound(f"handler {name} has no dead letter {seq}")

        job = Job(seq, await self._store.transact(revive), parked=True)
        if self._running:  # else `begin` will find its row
            self.ledger.revive(job)
            self._enqueue(job)

    async def _read(self) -> None:
        """Everything from the ledger's position on, for ever.  Raises Gone."""
        async for event in self._store.journal.follow_seq(self.ledger.position):
            wanted = self._wants(event) or self.ledger.is_known(event.seq)  # what it wants may have changed
            if wanted and (job := self.ledger.take(event)):
                self._enqueue(job)
            self.ledger.passed(event.seq)
            await self.ledger.wait_room()

    def _wants(self, event: Event) -> bool:
        """A handler is not told of its own runs."""
        return self._handler.wants(event.type) and event.subject != f"hook/{self._handler.name}"

    async def _skip_pruned(self, gone: Gone) -> None:
        """It was behind for longer than events are kept: say what was missed and go on."""
        first, last = self.ledger.position + 1, self._store.journal.oldest - 1
        detail = f"events {first} to {last} were pruned before they were handled"
        log.error("handler_missed_events", handler=self._handler.name, detail=detail, reason=gone.message)
        fact = HookDead(handler=self._handler.name, event="", detail=detail)
        # The last of them stands for all in the list of dead letters.
        row = Delivery(
            handler=fact.handler, seq=last, subject=fact.subject, next_at=self._store.clock(), error=detail, dead=True
        )

        def tell(tx: Tx) -> None:
            tx.put_delivery(row)
            tx.append(fact)

        await self._store.transact(tell)
        for job in self.ledger.skip(last):
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        lane = self._lanes.get(job.subject)
        if lane is None:
            self._lanes[job.subject] = deque([job])
            self._tasks.start_soon(self._work, job.subject)
            return
        if lane[0].parked:
            self.ledger.park_behind(job)
        lane.append(job)

    async def _work(self, subject: str) -> None:
        """Work one lane until it is empty."""
        lane = self._lanes[subject]
        while lane:
            job = lane[0]
            if job.next_at:
                # once, and never longer than the longest back-off: the wall clock may jump
                delay = (job.next_at - self._store.clock()) / 1e9
                if delay > 0:
                    await self._sleep(min(delay, self._handler.backoff_limit))
            async with self._limit:
                failure = await self._attempt(job)
            if failure is None:
                job.done = True
            elif not await self._given_up(job, *failure):
                for waiting in tuple(lane)[1:] if job.parked else ():
                    self.ledger.park_behind(waiting)
                continue
            lane.popleft()
            self.ledger.finish(job)
        del self._lanes[subject]

    async def _attempt(self, job: Job) -> tuple[str, bool] | None:
        """Run the handler once.  None, or why it failed and whether that is for good."""
        try:
            event = job.event or await self._store.read(lambda tx: tx.event(job.seq))
            if event is None:
                return "the event was pruned: no success for as long as events are kept", True
            with anyio.move_on_after(self._handler.deadline) as scope, cause.working_on(event.id):
                await self._handler.handle(event, self._context)
            if scope.cancelled_caught:
                return f"no end in {self._handler.deadline:g} s", False
        except GiveUp as e:
            return describe(e), True
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                raise  # it is us who are cancelled
            return "it cancelled itself", False
        except (Exception, SystemExit) as e:  # a handler may not end the daemon
            return describe(e), False
        return None

    async def _given_up(self, job: Job, error: str, final: bool) -> bool:
        """Write a failure down.  True when it was the last."""
        handler, attempt = self._handler, job.attempts + 1
        dead = final or attempt >= handler.attempts
        delay = min(handler.backoff_limit, handler.backoff * 2 ** (attempt - 1)) * (0.5 + self._random() / 2)
        row = Delivery(
            handler=handler.name,
            seq=job.seq,
            subject=job.subject,
            attempts=attempt,
            next_at=self._store.clock() + (0 if dead else int(delay * 1e9)),
            error=error,
            dead=dead,
        )
        log.warning(
            "handler_dead" if dead else "handler_failed",
            handler=handler.name,
            seq=job.seq,
            subject=job.subject,
            attempt=attempt,
            error=error,
        )

        def write(tx: Tx) -> None:
            tx.put_delivery(row)
            # No facts about runs for hook facts: two handlers that fail on each other's failures would never end.
            if (dead or not handler.builtin) and not job.subject.startswith("hook/"):
                about = self._store.journal.epochs.cursor(job.seq)
                kind = HookDead if dead else HookFailed
                tx.append(kind(handler=handler.name, event=about, attempt=attempt, detail=error), cause=about)

        try:
            await self._store.transact(write)
        except HawseError as e:
            # The store cannot be written: the job stays open and the cursor before it, so nothing is forgotten.
            log.warning("handler_failure_not_recorded", handler=handler.name, seq=job.seq, reason=str(e))
            job.next_at = self._store.clock() + int(STORE_RETRY * 1e9)
            return False
        faults.point("dispatch.parked")
        job.attempts, job.next_at = row.attempts, row.next_at
        if not dead:
            self.ledger.parked(job)
        return dead


def describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}"[:ERROR_LENGTH] if text else type(error).__name__
