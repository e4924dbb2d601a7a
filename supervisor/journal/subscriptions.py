"""Subscriptions: named, durable readers of the journal in other processes.

At least once, in order per subject.  A delivered event is *out* until it is acknowledged, its deadline passes or its
consumer goes away; in the last two cases it is delivered again.  While an event of a subject is out, no later one of that
subject is delivered; other subjects go on.  Several consumers of one subscription share its events.  Nothing here holds
back pruning: what was pruned undelivered is counted, and told.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import anyio
from msgspec.structs import replace

from hawse.supervisor.core.errors import Gone, NotFound, UserError
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.journal.eventfilter import parse
from hawse.supervisor.store.epochs import CURSOR, Epochs
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.subscriptions import Subscription
from hawse.supervisor.store.tx import Tx

WINDOW: Final = 1024  # events that are read but not acknowledged
BATCH: Final = 64  # events given to a consumer at a time
LAZY: Final = 512  # unwanted events that the stored cursor may stay behind
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}\Z")
ACK_SECONDS = (0.05, 86_400.0)


class Consumer:
    """Whoever takes events; compared by identity."""


@dataclass(slots=True)
class Out:
    """A delivered event that waits to be acknowledged."""

    row: Stored
    until: float
    consumer: Consumer


@dataclass(frozen=True, slots=True)
class Delivered:
    row: Stored
    attempt: int  # since the daemon started


class LiveSubscription:
    """One subscription while the daemon lives."""

    def __init__(self, store: Store, record: Subscription) -> None:
        self._store = store
        self.record = record
        self._filter = parse(record.filters)
        self._read_to = store.journal.epochs.clamp(record.cursor, head=store.journal.head)
        self._flushed = self._read_to
        self._acked = set(record.acked)
        self._pending: list[Stored] = []  # read, not out; by seq
        self._out: dict[int, Out] = {}
        self._busy: set[str] = set()  # subjects with an event out
        self._attempts: dict[int, int] = {}
        self._changed = anyio.Event()
        self._reading = anyio.Lock()
        self.removed = False

    @property
    def cursor(self) -> int:
        """The seq up to which everything is done."""
        first = self._pending[0].seq if self._pending else None
        waiting = [*self._out, *(() if first is None else (first,))]
        return min(waiting) - 1 if waiting else self._read_to

    @property
    def lag(self) -> int:
        """Events between what is done and the journal's end, wanted or not."""
        return self._store.journal.head - self.cursor

    @property
    def outstanding(self) -> int:
        return len(self._out)

    async def take(self, consumer: Consumer, timeout: float) -> list[Delivered]:
        """The next events for a consumer; none when `timeout` seconds pass first.

        Raises Gone, once, when events were pruned undelivered, and NotFound when the subscription was removed.
        """
        journal = self._store.journal
        end = anyio.current_time() + timeout
        while True:
            if self.removed:
                raise NotFound(f"No such subscription: {self.record.name}")
            changed, head, now = self._changed, journal.head, anyio.current_time()
            self._expire(now)
            if not self.record.paused:
                if found := self._choose(consumer, now):
                    return found
                if self._read_to < head and len(self._pending) + len(self._out) < WINDOW:
                    await self._read()
                    continue
            if now >= end:
                return []
            due = min([end, *(out.until for out in self._out.values())])
            with anyio.move_on_after(max(0.0, due - now)):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._either, changed, tasks.cancel_scope)
                    if self._read_to >= head:
                        await journal.wait_beyond(head)
                        tasks.cancel_scope.cancel()

    @staticmethod
    async def _either(changed: anyio.Event, scope: anyio.CancelScope) -> None:
        await changed.wait()
        scope.cancel()

    async def acknowledge(self, seqs: Iterable[int]) -> None:
        """Done with these.  What was not delivered, or already was acknowledged, does not matter."""
        for seq in seqs:
            if out := self._out.pop(seq, None):
                self._busy.discard(out.row.subject)
            elif seq in self._attempts:  # its deadline had passed, and nobody has it yet
                self._pending = [row for row in self._pending if row.seq != seq]
            else:
                continue
            self._attempts.pop(seq, None)
            self._acked.add(seq)
        self._wake()
        await self.flush()

    def leave(self, consumer: Consumer) -> None:
        """Let the consumer go: what it had and did not acknowledge is for the next one."""
        for seq in [seq for seq, out in self._out.items() if out.consumer is consumer]:
            self._return(seq)
        self._wake()

    async def pause(self, paused: bool) -> None:
        self.record = replace(self.record, paused=paused)
        self._wake()
        await self.flush()

    async def replay(self, position: int) -> None:
        """Deliver everything after that seq, again where it was delivered before."""
        self._read_to = position
        self._acked.clear()
        self._pending.clear()
        self._out.clear()
        self._busy.clear()
        self._attempts.clear()
        self._wake()
        await self.flush()

    def close(self) -> None:
        """It was removed: consumers are told."""
        self.removed = True
        self._wake()

    async def flush(self) -> None:
        """Write down how far it is."""
        cursor = self.cursor
        self._acked = {seq for seq in self._acked if seq > cursor}
        self.record = record = replace(
            self.record, cursor=self._store.journal.epochs.cursor(cursor), acked=tuple(sorted(self._acked))
        )
        self._flushed = cursor
        await self._store.transact(lambda tx: tx.put_subscription(record))

    async def _read(self) -> None:
        """Read one more stretch of the journal.  Raises Gone."""
        async with self._reading:
            position = self._read_to
            try:
                end, rows = await self._store.journal.page(position, types=self._filter.types)
            except Gone as e:
                oldest = await self._store.read(lambda tx: tx.oldest())
                self.record = replace(self.record, lost=self.record.lost + oldest - 1 - position)
                self._read_to = oldest - 1
                await self.flush()
                raise Gone(
                    f"events up to {oldest - 1} were pruned before they were delivered", oldest=e.oldest
                ) from None
            if self._read_to != position:  # replayed meanwhile
                return
            self._pending += [row for row in rows if row.seq not in self._acked and self._filter.wants(row)]
            self._read_to = end
        if self.cursor - self._flushed >= LAZY:
            await self.flush()

    def _choose(self, consumer: Consumer, now: float) -> list[Delivered]:
        chosen: list[Delivered] = []
        kept: list[Stored] = []
        for index, row in enumerate(self._pending):
            if len(chosen) == BATCH:
                kept += self._pending[index:]
                break
            if row.subject in self._busy:
                kept.append(row)
                continue
            self._busy.add(row.subject)
            self._out[row.seq] = Out(row, now + self.record.ack_seconds, consumer)
            attempt = self._attempts[row.seq] = self._attempts.get(row.seq, 0) + 1
            chosen.append(Delivered(row, attempt))
        self._pending = kept
        return chosen

    def _expire(self, now: float) -> None:
        for seq in [seq for seq, out in self._out.items() if out.until <= now]:
            self._return(seq)

    def _return(self, seq: int) -> None:
        out = self._out.pop(seq)
        self._busy.discard(out.row.subject)
        insort(self._pending, out.row, key=lambda row: row.seq)

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Subscriptions:
    """All of them.  Every method raises NotFound for a name that is none."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._live: dict[str, LiveSubscription] = {}

    async def create(
        self, name: str, *, position: int, filters: tuple[str, ...] = (), ack_seconds: float = 30.0
    ) -> LiveSubscription:
        """Begin after that seq.  Raises UserError, Conflict."""
        if not NAME.match(name):
            raise UserError(f"invalid subscription name {name!r}", hint="letters, digits, _ . - and at most 63 of them")
        if not ACK_SECONDS[0] <= ack_seconds <= ACK_SECONDS[1]:
            raise UserError(f"invalid acknowledgement deadline {ack_seconds:g} s", hint="50 ms to 24 h")
        parse(filters)
        record = Subscription(
            name=name,
            cursor=self._store.journal.epochs.cursor(position),
            created_at=self._store.clock(),
            filters=filters,
            ack_seconds=ack_seconds,
        )
        await self._store.transact(lambda tx: tx.add_subscription(record))
        subscription = self._live[name] = LiveSubscription(self._store, record)
        return subscription

    async def named(self, name: str) -> LiveSubscription:
        found = self._live.get(name)
        if found is None:
            record = await self._store.read(lambda tx: tx.subscription(name))
            found = self._live.setdefault(name, LiveSubscription(self._store, record))
        return found

    async def all(self) -> list[LiveSubscription]:
        records = await self._store.read(lambda tx: tx.subscriptions())
        return [self._live.setdefault(record.name, LiveSubscription(self._store, record)) for record in records]

    async def remove(self, name: str) -> None:
        def delete(tx: Tx) -> None:
            tx.delete_subscription(name)

        await self._store.transact(delete)
        if subscription := self._live.pop(name, None):
            subscription.close()


def parse_ids(ids: Iterable[str], epochs: Epochs) -> list[int]:
    """The seqs of event ids, without those of an epoch that lost them.  Raises UserError."""
    seqs = []
    for text in ids:
        if not (match := CURSOR.match(text)):
            raise UserError(f"invalid event id {text!r}", hint="the id of a delivered event, <epoch>-<seq>")
        if epochs.of(int(match[2])) == match[1]:
            seqs.append(int(match[2]))
    return seqs
