"""What one durable handler has done, ahead of what the store says about it.

The stored cursor may pass an event only when it is done or *parked*, that is, has a row in `deliveries`.  The ledger knows
which events are neither (`open`), so how far the cursor may go, and writes cursor, new rows and deleted rows together.
Writes are gathered: while one flush is under way the next collects, so that the cost does not grow with the events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio
import structlog

from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.events import Event
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

WINDOW: Final = 1024  # events that are read but neither done nor parked
LAZY: Final = 512  # unwanted events that the stored cursor may stay behind
LAST_FLUSH: Final = 2.0  # seconds for the cursor to be written when the daemon ends
STORE_RETRY: Final = 1.0  # seconds until a store that cannot be written is tried again

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Job:
    """One event on its way to the handler."""

    seq: int
    subject: str
    event: Event | None = None  # None: parked, read again when its turn comes
    attempts: int = 0
    next_at: int = 0  # ns since the epoch
    parked: bool = False
    done: bool = False  # by success: its row, if there is one, must go


class Ledger:
    """`position` is the seq up to which the journal was read, -1 before `load`."""

    def __init__(self, name: str, store: Store) -> None:
        self.position = -1
        self._name = name
        self._store = store
        self._stored = -1  # the cursor in the store
        self._known: dict[int, Delivery] = {}  # rows of events that the cursor had not passed at the start
        self._jobs: dict[int, Job] = {}  # everything not done
        self._open: dict[int, Job] = {}  # of those, the ones without a row; in order of seq
        self._behind: dict[int, Job] = {}  # of those, the ones that get a row with the next flush
        self._undone: list[int] = []  # seqs whose rows go with the next flush
        self._waiters: dict[int, anyio.Event] = {}
        self._room = anyio.Event()
        self._dirty = anyio.Event()
        self._closed = False

    async def load(self, after: int) -> list[Job]:
        """Register the handler in the store, to begin after that seq, or find where it was.

        What is parked up to there, in order.  An event that is parked beyond has to wait until it is read again: an
        earlier one of its subject may have no row.
        """

        def load(tx: Tx) -> tuple[int, list[Delivery]]:
            cursor = tx.handler_cursors().get(self._name)
            if cursor is None:
                tx.put_handler_cursor(self._name, after)
                return after, []
            return cursor, tx.deliveries(self._name)

        self._stored, rows = await self._store.transact(load)
        self._known = {row.seq: row for row in rows}
        return self.skip(self._stored)

    def take(self, event: Event) -> Job | None:
        """A job for an event that was read; None for a dead letter."""
        if row := self._known.pop(event.seq, None):
            return self._take_up(row)
        job = self._jobs[event.seq] = self._open[event.seq] = Job(event.seq, event.subject, event)
        return job

    def is_known(self, seq: int) -> bool:
        """Tell whether it has had a row since before the start and is not taken up yet."""
        return seq in self._known

    def skip(self, seq: int) -> list[Job]:
        """Go on behind that event; jobs for what is parked up to there, in order."""
        rows = [self._known.pop(known) for known in sorted(self._known) if known <= seq]
        jobs = [job for row in rows if (job := self._take_up(row))]
        self.position = seq
        self.tell()
        return jobs

    def _take_up(self, row: Delivery) -> Job | None:
        if row.dead:
            return None
        job = Job(row.seq, row.subject, attempts=row.attempts, next_at=row.next_at, parked=True)
        self._jobs[job.seq] = job
        return job

    def revive(self, job: Job) -> None:
        """A dead letter, which has a row, is to be tried again."""
        self._jobs[job.seq] = job

    def passed(self, seq: int) -> None:
        """The journal was read up to there."""
        self.position = seq
        self.tell(seq)
        if seq - self._stored >= LAZY:
            self._dirty.set()

    def finish(self, job: Job) -> None:
        """It is dealt with: done, or dead and its row stays."""
        if job.parked and job.done:
            self._undone.append(job.seq)
        self._open.pop(job.seq, None)
        self._behind.pop(job.seq, None)
        del self._jobs[job.seq]
        self._room.set()
        self._dirty.set()
        self.tell(job.seq)

    def parked(self, job: Job) -> None:
        """It has a row now; the event itself need not be kept."""
        job.parked, job.event = True, None
        self._open.pop(job.seq, None)
        self._behind.pop(job.seq, None)
        self._room.set()
        self._dirty.set()

    def park_behind(self, job: Job) -> None:
        """Give a job that waits behind a failed one, maybe for long, a row of its own: then the cursor can pass it."""
        if not job.parked:
            self._behind[job.seq] = job
            self._dirty.set()

    async def wait_room(self) -> None:
        """Wait until fewer than WINDOW events are open: more are not read, the journal keeps them."""
        while len(self._open) >= WINDOW:
            self._room = anyio.Event()
            await self._room.wait()

    async def wait_done(self, seq: int) -> None:
        while not self._closed and (seq > self.position or seq in self._jobs):
            await self._waiters.setdefault(seq, anyio.Event()).wait()

    def close(self) -> None:
        """Nobody waits any longer."""
        self._closed = True
        for waiter in self._waiters.values():
            waiter.set()

    def tell(self, seq: int | None = None) -> None:
        """Wake who waits for that event, or look at everybody."""
        for waited in (seq,) if seq is not None else tuple(self._waiters):
            if waited <= self.position and waited not in self._jobs and (waiter := self._waiters.pop(waited, None)):
                waiter.set()

    def lag(self, head: int) -> int:
        return max(0, head - self.position) + len(self._jobs)

    def write_soon(self) -> None:
        if self._stored < self.position:
            self._dirty.set()

    async def keep_flushing(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        while True:
            await self._dirty.wait()
            self._dirty = anyio.Event()
            try:
                await self._flush()
            except HawseError as e:
                log.warning("handler_cursor_not_written", handler=self._name, reason=str(e))
                self._dirty.set()
                await sleep(STORE_RETRY)

    async def flush_last(self) -> None:
        """When the daemon ends: what is not written is done again, as after a crash."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_FLUSH):
            try:
                await self._flush()
            except HawseError as e:
                log.info("handler_cursor_not_written", handler=self._name, reason=str(e))

    async def _flush(self) -> None:
        """Write one transaction: rows for what waits behind a failure, no rows for what is done, the cursor past both."""
        behind, undone = list(self._behind.values()), self._undone
        self._undone = []
        cursor = next((seq for seq in self._open if seq not in self._behind), self.position + 1) - 1

        def flush(tx: Tx) -> None:
            for job in behind:
                # It may have failed since, and its failure be written already: that row knows more.
                tx.add_delivery(Delivery(handler=self._name, seq=job.seq, subject=job.subject))
            for seq in undone:
                tx.delete_delivery(self._name, seq)
            tx.put_handler_cursor(self._name, cursor)

        try:
            await self._store.transact(flush)
        except BaseException:
            # Cancelled, it may have been committed all the same: the rows of what is done by now must go, too.
            self._undone = undone + [job.seq for job in behind if job.done] + self._undone
            raise
        self._stored = cursor
        for job in behind:
            if job.done:  # while it was being parked
                self._undone.append(job.seq)
                self._dirty.set()
            elif job.seq in self._open:
                self.parked(job)
