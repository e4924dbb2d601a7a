"""People who wait for an event of one subject: `docker wait`, a stop that waits for the exit, an rm for the unplug.

They are woken from the journal, so nobody is told of a thing that a crash could take back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from hawse.supervisor.core.events import Event


@dataclass(eq=False, slots=True)
class Expectation:
    """One awaited event.  Made before the act that causes it, so that it cannot be missed."""

    types: frozenset[str]
    after: int  # events up to this seq had happened before
    _happened: anyio.Event = field(default_factory=anyio.Event)
    _event: Event | None = None

    async def wait(self, timeout: float | None = None) -> Event | None:
        """The event, or None when `timeout` seconds pass first."""
        with anyio.move_on_after(timeout):
            await self._happened.wait()
        return self._event

    def fulfil(self, event: Event) -> None:
        if self._event is None:
            self._event = event
            self._happened.set()


class Waits:
    """Who waits for what, by subject.  `head` is the seq of the newest committed event."""

    def __init__(self, head: Callable[[], int]) -> None:
        self._head = head
        self._waiting: dict[str, list[Expectation]] = {}

    @contextmanager
    def expect(self, subject: str, *types: str) -> Iterator[Expectation]:
        """Within the block, the first event of `subject` whose type is one of `types` is caught."""
        expectation = Expectation(frozenset(types), self._head())
        self._waiting.setdefault(subject, []).append(expectation)
        try:
            yield expectation
        finally:
            remaining = self._waiting[subject]
            remaining.remove(expectation)
            if not remaining:
                del self._waiting[subject]

    def told(self, event: Event) -> None:
        """Called with every committed event, in order."""
        for expectation in tuple(self._waiting.get(event.subject, ())):
            if event.type in expectation.types and event.seq > expectation.after:
                expectation.fulfil(event)
