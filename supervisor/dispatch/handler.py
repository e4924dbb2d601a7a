"""What a handler is: everything that reacts to an event is one of these.

A *gate* is asked inside a transition, in order, and may refuse.  A *durable* handler is driven from the journal by a
stored cursor: at least once, in order per subject, parallel across subjects.  Built-in handlers and those of users differ
in nothing but who wrote them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from hawse.supervisor.parts import Context


class GiveUp(Exception):
    """Raised by a durable handler: this event will never work, do not try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What to do about which events.

    `types` are globs over event types (durable) or questions (gate).  `handle` gets the Event or Question and the
    context; it must be safe to run twice.  A gate refuses by raising, and may return a changed question.  A durable
    handler that raises is tried again `attempts` times in all, after `backoff` seconds and then twice as long each time.
    """

    name: str
    types: tuple[str, ...]
    mode: Literal["gate", "durable"]
    handle: Callable[[Any, Context], Awaitable[Any]]
    deadline: float = 30.0
    attempts: int = 5
    backoff: float = 1.0
    backoff_limit: float = 300.0
    concurrency: int = 32  # subjects handled at the same time
    order: str = ""  # gates of users are asked in this order, before the built-in ones
    builtin: bool = False  # its single failures are logged, not journalled; when it gives up, that is

    def wants(self, type_: str) -> bool:
        return any(fnmatchcase(type_, glob) for glob in self.types)
