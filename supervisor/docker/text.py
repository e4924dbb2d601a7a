"""Durations and states in Docker's words.  Pure; the time now is an argument."""

from __future__ import annotations

from hawse.supervisor.core.model import Container, State

UNKNOWN_EXIT = 255
"""Shown where nobody could know the exit code; State.Error says why."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY


def duration(ns: int) -> str:
    """ "3 minutes", "About an hour": coarse, as people say it."""
    seconds = max(0, ns) // 10**9
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < _MINUTE:
        return f"{seconds} seconds"
    if seconds < 2 * _MINUTE:
        return "About a minute"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} minutes"
    hours = (seconds + _HOUR // 2) // _HOUR
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = seconds // _DAY
    if days < 14:
        return f"{days} days"
    if seconds < 2 * _MONTH:
        return f"{seconds // _WEEK} weeks"
    if seconds < 2 * _YEAR:
        return f"{seconds // _MONTH} months"
    return f"{seconds // _YEAR} years"


def exit_code(container: Container) -> int:
    if container.exit is None:
        return 0
    return UNKNOWN_EXIT if container.exit.code is None else container.exit.code


def status(container: Container, now: int) -> str:
    """The STATUS column of ps."""
    match container.public:
        case State.RUNNING | State.PAUSED:
            up = f"Up {duration(now - container.started_at)}"
            if container.state is State.PAUSED:
                return f"{up} (Paused)"
            if container.health == "starting":
                return f"{up} (health: starting)"
            return f"{up} ({container.health})" if container.health else up
        case State.RESTARTING:
            return f"Restarting ({exit_code(container)}) {duration(now - container.finished_at)} ago"
        case State.EXITED:
            return f"Exited ({exit_code(container)}) {duration(now - container.finished_at)} ago"
        case State.REMOVING:
            return "Removal In Progress"
        case State.DEAD:
            return "Dead"
        case _:
            return "Created"
