"""Readers at the head of the journal: told of a commit in one pass, not each by a task that has to wake first.

What is new is chosen and encoded once for all who asked for the same, and goes into their connections in one turn of the
loop.  Nothing is queued here: whoever has not taken yet what was written before goes back to its own task, which reads on
from the journal at the reader's pace and stands here again when it has reached the head.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

Sight = tuple[int, bytes]
"""The seq that a reader is at when it has these bytes."""
Look = Callable[[int], Sight | None]
"""What a reader who is at that seq has to be told next; None when only the database knows."""


class Outlet(Protocol):
    """An asyncio.Transport."""

    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def is_closing(self) -> bool: ...


@dataclass(eq=False, slots=True)
class Place:
    """How far one reader is, and when (on the loop's clock) it was last told anything."""

    outlet: Outlet
    position: int
    told_at: float


@dataclass(eq=False, slots=True)
class _Row:
    """Readers who asked for the same."""

    look: Look
    leaving: dict[Place, anyio.Event] = field(default_factory=dict)


class Crowd:
    """`head` is the seq of the newest committed event."""

    def __init__(self, head: Callable[[], int]) -> None:
        self._head = head
        self._rows: dict[Hashable, _Row] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    async def stand(self, place: Place, wish: Hashable, look: Look, timeout: float) -> None:
        """Be told what comes, until `timeout` seconds have passed or the reader has to go on by itself.

        `place` says how far it got.  Readers with equal wishes share what one of their `look`s sees.  To be called at the
        head and in the same turn of the loop as that was seen.
        """
        row = self._rows.setdefault(wish, _Row(look))
        row.leaving[place] = leave = anyio.Event()
        try:
            with anyio.move_on_after(timeout):
                await leave.wait()
        finally:
            del row.leaving[place]
            if not row.leaving:
                del self._rows[wish]

    def tell(self) -> None:
        """Called after each commit."""
        head, now = self._head(), anyio.current_time()
        for row in self._rows.values():
            seen: dict[int, Sight | None] = {}
            for place, leave in row.leaving.items():
                if place.position >= head or place.outlet.is_closing():
                    continue
                if place.position not in seen:
                    seen[place.position] = _look(row.look, place.position)
                sight = seen[place.position]
                if sight is None or (sight[1] and place.outlet.get_write_buffer_size()):
                    leave.set()
                    continue
                place.position, data = sight
                if data:
                    place.outlet.write(data)
                    place.told_at = now
                if place.position < head:
                    leave.set()


def _look(look: Look, position: int) -> Sight | None:
    try:
        return look(position)
    except Exception:  # each reader's own task meets it again, and answers for it
        return None
