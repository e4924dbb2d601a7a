"""Reading the journal while it grows: cursors, followers, the newest events in memory.

A commit only *wakes* followers; each reads at its own pace, from a small ring of the newest events when it is at the head
and from the database when it is behind.  So a slow reader costs disk reads, never memory or another reader's time, and
there is no queue that could overflow.  Clients who wait at the head are the crowd's (crowd.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import anyio

from hawse.supervisor.core.errors import Gone
from hawse.supervisor.core.events import Event, encode_fact
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.store.crowd import Crowd
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.eventrows import matching
from hawse.supervisor.store.tx import Tx

RING = 1024  # newest events kept decoded
CHUNK = 128  # events that one follower holds at most
PAGE = 256  # events that one reader who does not decode them holds at most
WINDOW = 4096  # seqs that one read looks through for events that match

Page = tuple[int, list[Event]]
StoredPage = tuple[int, list[Stored]]
T = TypeVar("T")


class Read(Protocol):
    """Runs a function on one consistent view of the database."""

    def __call__(self, fn: Callable[[Tx], T], /) -> Awaitable[T]: ...


class Journal:
    """`head` and `oldest` are the seqs of the newest and oldest event kept (0 and 1 before the first)."""

    def __init__(
        self,
        read: Read,
        epochs: Epochs,
        *,
        oldest: int,
        head: int,
    ) -> None:
        self.epochs = epochs
        self.oldest = oldest
        self.head = head
        self.crowd = Crowd(lambda: self.head)
        self._read = read
        self._ring: deque[Event] = deque(maxlen=RING)
        self._encoded: dict[int, Stored] = {}  # of the ring, what some reader has asked for undecoded
        self._grown = anyio.Event()
        self._subscribers: list[Callable[[Event], None]] = []

    @property
    def cursor(self) -> str:
        """Return where the journal ends now."""
        return self.epochs.cursor(self.head)

    @property
    def oldest_cursor(self) -> str:
        """Return where reading can begin."""
        return self.epochs.cursor(self.oldest - 1)

    def parse(self, cursor: str) -> int:
        """The seq after which to read; "" is the oldest event kept.  Raises UserError, Gone."""
        if not cursor:
            return self.oldest - 1
        return self.epochs.parse(cursor, oldest=self.oldest, head=self.head)

    def follow(
        self, after: str = "", *, types: Collection[str] = (), subject: str = "", until: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """Every event after that cursor, then those to come, in order and without a gap.

        `types` are globs ("container.*").  `until` ends the stream with that seq (`head`: do not wait for more).
        Raises UserError or Gone at once for a bad cursor; the iterator raises Gone when pruning overtakes its reader.
        """
        return self.follow_seq(self.parse(after), types=types, subject=subject, until=until)

    @contextmanager
    def subscribe(self, told: Callable[[Event], None]) -> Iterator[None]:
        """Within the block `told` is called with every committed event, in order, before its committer goes on.

        For what must be quick and never waits; whoever has work to do follows instead.
        """
        self._subscribers.append(told)
        try:
            yield
        finally:
            self._subscribers.remove(told)

    async def follow_seq(
        self, position: int, *, types: Collection[str] = (), subject: str = "", until: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """`follow` for our own readers, who remember a seq."""
        wanted = frozenset(matching(types)) if types else None
        while until is None or position < until:
            if position >= self.head:
                await self._grown.wait()
                continue
            if self._ring and position + 1 >= self._ring[0].seq:
                position, events = self._newest(position, wanted, subject)
            else:
                position, events = await self._stored(position, wanted, subject)
            for event in events:
                if until is not None and event.seq > until:
                    return
                yield event

    def _newest(self, position: int, wanted: frozenset[str] | None, subject: str) -> Page:
        behind = self.head - position
        taken = [self._ring[i] for i in range(-behind, min(CHUNK - behind, 0))]
        return taken[-1].seq, [
            e for e in taken if (wanted is None or e.type in wanted) and (not subject or e.subject == subject)
        ]

    async def _stored(self, position: int, wanted: frozenset[str] | None, subject: str) -> Page:
        end = min(position + WINDOW, self.head)

        def read(tx: Tx) -> Page:
            # oldest in the same transaction: pruning may have committed without our having heard of it yet
            return tx.oldest(), tx.events(position, CHUNK, types=wanted or (), subject=subject, upto=end)

        oldest, events = await self._read(read)
        if position < oldest - 1:
            raise self._pruned(oldest)
        return (events[-1].seq if len(events) == CHUNK else end), events

    async def page(
        self, position: int, *, types: Collection[str] = (), subject: str = "", upto: int | None = None
    ) -> StoredPage:
        """Return what matches in the next stretch after `position`, undecoded, and the seq that the stretch ends with.

        Does not wait: at the head the stretch is empty.  Raises Gone when `position` was pruned.
        """
        end = self.head if upto is None else min(upto, self.head)
        if position >= end:
            return position, []
        newest = self.newest(position, types=types, subject=subject, upto=end)
        if newest is not None:
            return newest
        end = min(end, position + WINDOW)

        def read(tx: Tx) -> StoredPage:
            return tx.oldest(), tx.stored(position, PAGE, types=types, subject=subject, upto=end)

        oldest, rows = await self._read(read)
        if position < oldest - 1:
            raise self._pruned(oldest)
        return (rows[-1].seq if len(rows) == PAGE else end), rows

    def newest(
        self, position: int, *, types: Collection[str] = (), subject: str = "", upto: int | None = None
    ) -> StoredPage | None:
        """`page`, of the events in memory only: None when what comes after `position` is no longer there."""
        if not self._ring or position + 1 < self._ring[0].seq:
            return None
        first, end = self._ring[0].seq, self.head if upto is None else min(upto, self.head)
        taken = [self._ring[i] for i in range(position + 1 - first, min(end, position + PAGE) + 1 - first)]
        wanted = frozenset(matching(types)) if types else None
        return (taken[-1].seq if taken else position), [
            self._undecoded(e)
            for e in taken
            if (wanted is None or e.type in wanted) and (not subject or e.subject == subject)
        ]

    async def wait_beyond(self, position: int, timeout: float | None = None) -> bool:
        """Wait until the journal goes on after that seq; False when `timeout` seconds pass first."""
        with anyio.move_on_after(timeout):
            while self.head <= position:
                await self._grown.wait()
        return self.head > position

    def _undecoded(self, event: Event) -> Stored:
        """Encoded once, however many readers there are at the head."""
        found = self._encoded.get(event.seq)
        if found is None:
            body = encode_fact(event.fact)
            found = Stored(event.seq, event.time, event.type, event.subject, event.cause, body)
            self._encoded[event.seq] = found
            if len(self._encoded) > RING:
                del self._encoded[next(iter(self._encoded))]
        return found

    def _pruned(self, oldest: int) -> Gone:
        return Gone(
            f"events up to {oldest - 1} were pruned before they were read", oldest=self.epochs.cursor(oldest - 1)
        )

    def publish(self, events: Sequence[Event]) -> None:
        """Called by the store with what has just committed."""
        if not events:
            return
        self._ring.extend(events)
        self.head = events[-1].seq
        if self.crowd or self._subscribers:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.crowd.tell)
            for event in events:
                for told in self._subscribers:
                    loop.call_soon(told, event)  # its exception is the loop's to report, and stops nobody else
        grown, self._grown = self._grown, anyio.Event()
        grown.set()
