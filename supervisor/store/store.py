"""The store: one SQLite database, one writer, and the promise that state and event commit together.

`transact` hands a function to the writer's thread.  Whatever has gathered there when the thread is free goes into one
database transaction, each function in its own savepoint (group commit): under load the cost of a commit is shared, and
one function's failure takes nothing of the others with it.  Readers have connections of their own, so that a long read
never holds up a change (WAL).

synchronous = NORMAL: a crash of any process loses nothing.  A power failure may lose the last commits, those since the last
flush or checkpoint, but never part of one and never corrupts.  Who must not say what a power failure could take back waits
for `durable` first (barrier.py).  Because readers may have seen events that are then gone, a boot that follows an unclean end
begins a new epoch of the journal (epochs.py).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from hawse.supervisor.core import cause
from hawse.supervisor.core.errors import Bug, Unavailable
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Container, Endpoint, Image, Lease, Network, Volume
from hawse.supervisor.store.barrier import Barrier
from hawse.supervisor.store.connection import Connection, translate
from hawse.supervisor.store.journal import Journal
from hawse.supervisor.store.opening import Opened, mark_clean, prepare
from hawse.supervisor.store.tx import Tx

T = TypeVar("T")

READERS = 2
BATCH = 256  # functions that share one commit at most
CHECKPOINT_EVERY = 200  # commits; about a thousand pages
PRUNE_BATCH = 250  # events deleted in one transaction, so that nobody waits long behind it


class Work(Generic[T]):
    """One caller's function and what became of it."""

    __slots__ = ("cause", "changed", "error", "fn", "future", "owed", "result")

    def __init__(self, fn: Callable[[Tx], T], future: asyncio.Future[T], *, owed: bool) -> None:
        self.fn = fn
        self.owed = owed
        self.changed = False
        self.cause = cause.current()
        self.future = future
        self.result: T | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # its caller was cancelled; what was committed stays
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one instant; following the journal after `cursor` continues exactly there."""

    cursor: str
    containers: list[Container]
    networks: list[Network]
    endpoints: list[Endpoint]
    leases: list[Lease]
    images: list[Image]
    volumes: list[Volume]


class Store:
    """Made by `Store.open`, ended by `close` (or `async with`)."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], int],
        writer: Connection,
        checkpointer: Connection,
        readers: Sequence[Connection],
        opened: Opened,
    ) -> None:
        self.path = path
        self.clock = clock
        self._writer = writer
        self._checkpointer = checkpointer
        self._readers = readers[1:]
        self._follower = readers[0]
        self._epochs = opened.epochs
        self._waiting: deque[Work[Any]] = deque()
        self._drain_queued = False
        self._commits = 0  # since the last checkpoint
        self._wal_grown = anyio.Event()
        self._closed = False
        self._barrier: Barrier
        self._loop = asyncio.get_running_loop()
        self.journal = Journal(self._read_journal, opened.epochs, oldest=opened.oldest, head=opened.head)

    @classmethod
    async def open(cls, path: Path, clock: Callable[[], int] = time.time_ns, *, boot_id: str = "") -> Store:
        """Create, migrate and check.  Raises Unavailable or KernelError with the way out.

        With `boot_id` (the kernel's), a boot after an unclean end begins a new epoch.
        """
        async with AsyncExitStack() as undo:
            writer = await Connection.open(path, writable=True)
            undo.push_async_callback(writer.close)
            opened = await writer.run(lambda connection: prepare(connection, boot_id))
            checkpointer = await Connection.open(path, writable=True)
            undo.push_async_callback(checkpointer.close)
            readers = []
            for _ in range(1 + READERS):
                readers.append(await Connection.open(path, writable=False))
                undo.push_async_callback(readers[-1].close)
            store = cls(path, clock, writer, checkpointer, readers, opened)
            # Also the new epoch: else a power failure might begin it again, under events that were heard of.
            store._barrier = await Barrier.open(path, store._copy_back)
            undo.pop_all()
            return store

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was asked, write everything to the disk, let go.  Nothing depends on it having run."""
        if self._closed:
            return
        self._closed = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._writer.close)
            stack.callback(self._barrier.close)
            for other in (self._checkpointer, self._follower, *self._readers):
                stack.push_async_callback(other.close)
            await self._writer.run(mark_clean)

    async def transact(self, fn: Callable[[Tx], T], *, owed: bool = True) -> T:
        """Run `fn` in one transaction: what it changes and appends is committed when this returns, or not at all.

        `owed`: `durable` waits for it.  Not so what the next daemon would do again by itself.

        Its exceptions roll it back and come out here.  It runs in another thread: it must only use its Tx and its
        arguments.  A cancelled caller does not know whether it was committed; it never is by half.
        Raises Unavailable when the database cannot be written; nothing was changed then, and the next call tries anew.
        """
        if self._closed:
            raise Unavailable("the state database is closed")
        work = Work(fn, self._loop.create_future(), owed=owed)
        self._waiting.append(work)
        try:
            # The thread clears the flag before it collects: work added while it is set will be collected by that drain.
            if not self._drain_queued:
                self._drain_queued = True
                await self._writer.run(self._drain)
            result: T = await work.future
            return result
        except BaseException:
            work.future.cancel()
            raise

    async def durable(self) -> None:
        """Wait until what was committed by now is on the disk, so that no power cut takes it back.  Raises Unavailable."""
        await self._barrier.wait()

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on one consistent view of the committed state, beside the writer."""
        reader = min(self._readers, key=lambda connection: connection.in_flight)
        return await reader.run(lambda connection: self._view(connection, fn))

    async def snapshot(self) -> Snapshot:
        """All records and the cursor that they are valid at."""

        def view(tx: Tx) -> Snapshot:
            return Snapshot(
                cursor=self._epochs.cursor(tx.head()),
                containers=tx.containers(),
                networks=tx.networks(),
                endpoints=tx.endpoints(),
                leases=tx.leases(),
                images=tx.images(),
                volumes=tx.volumes(),
            )

        return await self.read(view)

    async def prune(self, *, max_age: int, max_bytes: int) -> int:
        """Forget events and tombstones older than `max_age` seconds, and the oldest events beyond `max_bytes`.

        How many events went.
        """
        before = self.clock() - max_age * 1_000_000_000
        pruned = 0

        def step(tx: Tx) -> tuple[int, int]:
            gone = tx.prune_events(before=before, max_bytes=max_bytes, limit=PRUNE_BATCH)
            tx.prune_tombstones(before)
            return gone, tx.oldest()

        while True:
            gone, self.journal.oldest = await self.transact(step)
            pruned += gone
            if gone < PRUNE_BATCH:
                return pruned

    async def wait_wal_grown(self) -> None:
        """Wait until enough was committed for a checkpoint to be worth it."""
        await self._wal_grown.wait()

    async def checkpoint(self) -> None:
        """Copy what the write-ahead log holds into the database, beside the writer and the readers."""
        self._commits, self._wal_grown = 0, anyio.Event()
        await self._checkpointer.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

    async def _copy_back(self) -> None:
        """All of the write-ahead log into the database, and wait for the disk.  Raises Unavailable."""
        full = "PRAGMA wal_checkpoint(FULL)"
        busy, _, _ = await self._checkpointer.run(lambda connection: connection.execute(full).fetchone())
        if busy:
            raise Unavailable(f"the state database {self.path} is locked by another process")

    async def _read_journal(self, fn: Callable[[Tx], T]) -> T:
        """Followers share a connection of their own: their long way through the past delays no one else."""
        return await self._follower.run(lambda connection: self._view(connection, fn))

    def _view(self, connection: sqlite3.Connection, fn: Callable[[Tx], T]) -> T:
        connection.execute("BEGIN")
        try:
            return fn(Tx(connection, self.clock, self._epochs))
        except sqlite3.Error as e:
            if getattr(e, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY:
                raise Bug("a change was attempted inside store.read") from e
            raise
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    # in the writer's thread

    def _drain(self, connection: sqlite3.Connection) -> None:
        self._drain_queued = False
        while self._waiting:
            batch: list[Work[Any]] = []
            while self._waiting and len(batch) < BATCH:
                batch.append(self._waiting.popleft())
            appended = self._commit(connection, batch)
            self._loop.call_soon_threadsafe(self._settle, batch, appended)

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[Work[Any]]) -> list[Event]:
        """Run one database transaction and return the events that it committed."""
        appended: list[Event] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work in batch:
                if not work.future.cancelled():
                    appended += self._attempt(connection, work)
            connection.execute("COMMIT")
        except BaseException as e:
            # No commit: what the functions did is gone, and those that had already succeeded must hear of it.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = translate(e, self.path) if isinstance(e, sqlite3.Error) else e
            for work in batch:
                work.error = work.error or failure
            return []
        return appended

    def _attempt(self, connection: sqlite3.Connection, work: Work[Any]) -> list[Event]:
        """Run one function in its savepoint.  Raises only what ends the whole transaction."""
        tx = Tx(connection, self.clock, self._epochs, work.cause)
        changes = connection.total_changes
        connection.execute("SAVEPOINT work")
        try:
            work.result = work.fn(tx)
        except BaseException as e:
            work.error = translate(e, self.path) if isinstance(e, sqlite3.Error) else e
            if not connection.in_transaction:  # a full disk or an i/o error made SQLite roll everything back
                raise
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            return []
        connection.execute("RELEASE work")
        work.changed = connection.total_changes != changes
        return tx.appended

    def _settle(self, batch: Sequence[Work[Any]], appended: Sequence[Event]) -> None:
        """Back in the loop, in the order of commits: first the followers wake, then the callers go on."""
        self._commits += 1
        if self._commits >= CHECKPOINT_EVERY:
            self._wal_grown.set()
        if any(work.owed and work.changed and work.error is None for work in batch):
            self._barrier.owe()
        self.journal.publish(appended)
        for work in batch:
            work.settle()
