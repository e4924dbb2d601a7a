"""One durable handler's deliveries.

The courier reads the journal from the handler's cursor and gives every event that the handler wants to the lane of its
subject; a lane works one event at a time.  The stored cursor may pass an event only when it is done or *parked*: written
to `deliveries`, because it failed or waits behind one that did.  So one bad subject neither stops the others nor is
forgotten, and whatever was not done at a crash is delivered again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from hawse.supervisor.errors import Gone, HawseError, NotFound
from hawse.supervisor.events import Event, HookDead, HookFailed
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

if TYPE_CHECKING:
    from hawse.supervisor.dispatch import Handler
    from hawse.supervisor.parts import Context

WINDOW: Final = 1024  # events that are read but neither done nor parked
LAZY: Final = 512  # unwanted events that the stored cursor may stay behind
LAST_FLUSH: Final = 2.0  # seconds for the cursor to be written when the daemon ends
STORE_RETRY: Final = 1.0  # seconds until a store that cannot be written is tried again
ERROR_LENGTH: Final = 2000

log = structlog.get_logger()


class GiveUp(Exception):
    """Raised by a handler: this event will never work, do not try again."""


@dataclass(slots=True)
class Job:
    """One event on its way to the handler."""

    seq: int
    subject: str
    event: Event | None  # None: parked, read again when its turn comes
    attempts: int = 0
    next_at: int = 0
    parked: bool = False  # it has a row in deliveries
    done: bool = False  # by success; the row, if there is one, must go


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
        self._handler = handler
        self._store = store
        self._context = context
        self._sleep = sleep
        self._random = random
        self._after = after
        self._position = -1  # seq up to which the journal was read
        self._stored = -1  # the cursor in the store
        self._jobs: dict[int, Job] = {}  # everything not done
        self._open: dict[int, Job] = {}  # of those, what holds the cursor back; in order of seq
        self._behind: list[Job] = []  # of those, what will be parked with the next flush
        self._undone: list[int] = []  # seqs of parked jobs that are done, their rows not yet deleted
        self._known: set[int] = set()  # seqs that the cursor had not passed, but that `deliveries` already held
        self._lanes: dict[str, deque[Job]] = {}
        self._limit = anyio.Semaphore(handler.concurrency)
        self._room = anyio.Event()
        self._dirty = anyio.Event()
        self._waiters: dict[int, anyio.Event] = {}
        self._scope = anyio.CancelScope()
        self._stopped = anyio.Event()
        self._running = False

    async def begin(self) -> None:
        """Register in the store, or load what is there."""

        def load(tx: Tx) -> tuple[int, list[Delivery]]:
            name = self._handler.name
            cursor = tx.handler_cursors().get(name)
            if cursor is None:
                cursor = self._after
                tx.put_handler_cursor(name, cursor)
            return cursor, tx.deliveries(name)

        cursor, parked = await self._store.transact(load)
        self._position = self._stored = cursor
        self._known = {delivery.seq for delivery in parked if delivery.seq > cursor}
        for delivery in parked:
            if not delivery.dead:
                job = Job(delivery.seq, delivery.subject, None, delivery.attempts, delivery.next_at, parked=True)
                self._jobs[job.seq] = job
                self._lanes.setdefault(job.subject, deque()).append(job)
        self._tell()

    async def run(self) -> None:
        """Until cancelled or stopped; nothing that the handler does ends it."""
        self._running = True
        try:
            with self._scope:
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._keep_flushing)
                    for subject in self._lanes:
                        self._tasks.start_soon(self._work, subject)
                    while True:
                        try:
                            await self._read()
                        except Gone as e:
                            await self._skip_pruned(e)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_FLUSH):
                try:
                    await self._flush()
                except HawseError as e:  # what was done is then done again, as after a crash
                    log.info("handler_cursor_not_written", handler=self._handler.name, reason=str(e))
            self._stopped.set()

    async def stop(self) -> None:
        """Cancel what runs; what was not done stays undone in the store."""
        self._scope.cancel()
        if self._running:
            await self._stopped.wait()
        for waiter in self._waiters.values():
            waiter.set()

    async def wait_done(self, seq: int) -> None:
        while not self._stopped.is_set() and (seq > self._position or seq in self._jobs):
            await self._waiters.setdefault(seq, anyio.Event()).wait()

    async def retry(self, seq: int) -> None:
        name = self._handler.name

        def revive(tx: Tx) -> Delivery:
            for delivery in tx.deliveries(name, dead=True):
                if delivery.seq == seq:
                    tx.put_delivery(Delivery(handler=name, seq=seq, subject=delivery.subject, error=delivery.error))
                    return delivery
            raise NotFound(f"handler {name} has no dead letter {seq}")

        delivery = await self._store.transact(revive)
        if self._running:  # else `begin` will find it
            self._enqueue(Job(seq, delivery.subject, None, parked=True))

    def lag(self, head: int) -> int:
        return max(0, head - self._position) + len(self._jobs)

    # reading

    async def _read(self) -> None:
        async for event in self._store.journal.follow_seq(self._position):
            if self._wants(event) and event.seq not in self._known:
                job = Job(event.seq, event.subject, event)
                self._open[event.seq] = job
                self._enqueue(job)
            self._position = event.seq
            self._tell(event.seq)
            if self._position - self._stored >= LAZY:
                self._dirty.set()
            while len(self._open) >= WINDOW:
                self._room = anyio.Event()
                await self._room.wait()

    def _wants(self, event: Event) -> bool:
        """A handler is not told of its own runs."""
        return self._handler.wants(event.type) and event.subject != f"hook/{self._handler.name}"

    def _enqueue(self, job: Job) -> None:
        self._jobs[job.seq] = job
        lane = self._lanes.get(job.subject)
        if lane is None:
            self._lanes[job.subject] = deque([job])
            self._tasks.start_soon(self._work, job.subject)
            return
        if lane[0].parked and not job.parked:
            self._park_behind(job)
        lane.append(job)

    def _park_behind(self, job: Job) -> None:
        self._behind.append(job)
        self._dirty.set()

    async def _skip_pruned(self, gone: Gone) -> None:
        """Pruning waits for handlers, so this is a journal cut by hand: say what was missed and go on."""
        missed_from, self._position = self._position + 1, self._store.journal.oldest - 1
        detail = f"events {missed_from} to {self._position} were pruned before they were handled"
        log.error("handler_missed_events", handler=self._handler.name, detail=detail, reason=gone.message)
        fact = HookDead(handler=self._handler.name, event="", detail=detail)
        await self._store.transact(lambda tx: tx.append(fact))
        self._tell()

    # working

    async def _work(self, subject: str) -> None:
        """One lane, until it is empty."""
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
                self._finish(job)
            elif not await self._failed(job, *failure):
                continue
            lane.popleft()
        del self._lanes[subject]

    async def _attempt(self, job: Job) -> tuple[str, bool] | None:
        """Run the handler once.  None, or why it failed and whether that is for good."""
        try:
            event = job.event or await self._store.read(lambda tx: tx.event(job.seq))
            if event is None:
                return "the event was pruned", True
            with anyio.move_on_after(self._handler.deadline) as scope:
                await self._handler.handle(event, self._context)
            if scope.cancelled_caught:
                return f"no end in {self._handler.deadline:g} s", False
        except GiveUp as e:
            return _describe(e), True
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                raise  # it is us who are cancelled
            return "it cancelled itself", False
        except Exception as e:
            return _describe(e), False
        return None

    async def _failed(self, job: Job, error: str, final: bool) -> bool:
        """Write a failure down.  True when it was the last."""
        job.attempts += 1
        handler = self._handler
        dead = final or job.attempts >= handler.attempts
        delay = min(handler.backoff_limit, handler.backoff * 2 ** (job.attempts - 1))
        job.next_at = 0 if dead else self._store.clock() + int(delay * (0.5 + self._random() / 2) * 1e9)
        log.warning(
            "handler_dead" if dead else "handler_failed",
            handler=handler.name,
            seq=job.seq,
            subject=job.subject,
            attempt=job.attempts,
            error=error,
        )

        def park(tx: Tx) -> None:
            tx.put_delivery(
                Delivery(
                    handler=handler.name,
                    seq=job.seq,
                    subject=job.subject,
                    attempts=job.attempts,
                    next_at=job.next_at,
                    error=error,
                    dead=dead,
                )
            )
            # No facts about runs for hook facts: two handlers that fail on each other's failures would never end.
            if (dead or not handler.builtin) and not job.subject.startswith("hook/"):
                event_id = self._store.journal.epochs.cursor(job.seq)
                fact = (HookDead if dead else HookFailed)(
                    handler=handler.name, event=event_id, attempt=job.attempts, detail=error
                )
                tx.append(fact, cause=event_id)

        try:
            await self._store.transact(park)
        except HawseError as e:
            # The store cannot be written: the job stays open and the cursor before it, so nothing is forgotten.
            log.warning("handler_failure_not_recorded", handler=handler.name, seq=job.seq, reason=str(e))
            job.attempts -= 1
            job.next_at = self._store.clock() + int(STORE_RETRY * 1e9)
            return False
        if dead:
            self._finish(job)
            return True
        self._parked(job)
        for follower in list(self._lanes[job.subject])[1:]:
            if not follower.parked:
                self._park_behind(follower)
        self._dirty.set()
        return False

    def _finish(self, job: Job) -> None:
        if job.parked and job.done:
            self._undone.append(job.seq)
        self._open.pop(job.seq, None)
        del self._jobs[job.seq]
        self._room.set()
        self._dirty.set()
        self._tell(job.seq)

    def _parked(self, job: Job) -> None:
        job.parked, job.event = True, None
        self._open.pop(job.seq, None)
        self._room.set()

    def _tell(self, seq: int | None = None) -> None:
        """Wake who waits for that event, or look at everybody."""
        for waited in (seq,) if seq is not None else tuple(self._waiters):
            if waited <= self._position and waited not in self._jobs and (waiter := self._waiters.pop(waited, None)):
                waiter.set()

    # writing

    async def _keep_flushing(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty = anyio.Event()
            try:
                await self._flush()
            except HawseError as e:
                log.warning("handler_cursor_not_written", handler=self._handler.name, reason=str(e))
                self._dirty.set()
                await self._sleep(STORE_RETRY)

    async def _flush(self) -> None:
        """One transaction: park what waits behind a failure, drop rows of what is done, move the cursor past both."""
        name = self._handler.name
        behind = [job for job in self._behind if job.seq in self._open]
        undone = self._undone.copy()
        parking = {job.seq for job in behind}
        cursor = next((seq for seq in self._open if seq not in parking), self._position + 1) - 1

        def flush(tx: Tx) -> None:
            for job in behind:
                tx.put_delivery(Delivery(handler=name, seq=job.seq, subject=job.subject))
            for seq in undone:
                tx.delete_delivery(name, seq)
            tx.put_handler_cursor(name, cursor)

        await self._store.transact(flush)
        self._stored = cursor
        self._behind = [job for job in self._behind if job.seq not in parking and job.seq in self._open]
        self._undone = self._undone[len(undone) :]
        for job in behind:
            if job.done:  # while it was being parked
                self._undone.append(job.seq)
                self._dirty.set()
            elif job.seq in self._open:
                self._parked(job)


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}"[:ERROR_LENGTH] if text else type(error).__name__
