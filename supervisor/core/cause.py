"""The event that the current task works on: what it journals meanwhile was caused by that event.

Set by a courier around a handler, read by the store when a transaction is asked for.  So also what a handler asks the engine
to do has its cause, and nobody passes it on by hand.  A task that outlives its handler must take `unrelated`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CURRENT: ContextVar[str] = ContextVar("cause", default="")


def current() -> str:
    """The id of an event, "" for none."""
    return _CURRENT.get()


@contextmanager
def working_on(event_id: str) -> Iterator[None]:
    token = _CURRENT.set(event_id)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def unrelated() -> None:
    """Forget the cause: from here on this task works on nothing in particular, whoever started it."""
    _CURRENT.set("")
