"""The names of events as users write them: `pre-start`, `on-container.exited`, `container.exited`, `network.*`.  Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.events import FACT_TYPES, Question

GATES = tuple(question.TYPE for question in Question.__args__)
FACTS = tuple(name for name in FACT_TYPES if not name.startswith("hook."))
"""Hooks are not told of hooks: two that answer each other's failures would never end."""
EVENTS = (*GATES, *(f"on-{name}" for name in FACTS))
"""The only names that an event's directory can have: hooks.d/<event>.d."""


def event_types(event: str) -> tuple[tuple[str, ...], bool]:
    """An event's name, `pre-start`, `on-container.exited`, `container.exited` or a glob → (types, whether a gate).

    Raises UserError for what is never going to happen.
    """
    if event in GATES:
        return (event,), True
    name = event.removeprefix("on-")
    if not any(fnmatchcase(known, name) for known in FACTS):
        raise UserError(f"there is no event {event!r}", hint=f"events: {', '.join(EVENTS)}")
    return (name,), False
