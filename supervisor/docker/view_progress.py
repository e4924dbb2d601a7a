"""The steps of a pull in Docker's JSON lines, which clients draw bars from.  Pure.

The phases are what compose and docker-py match by their words; what has no `progressDetail` compose passes over.
"""

from __future__ import annotations

from typing import Any

from hawse.supervisor.core.steps import Step

_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def line(step: Step) -> dict[str, Any]:
    """Show one step, as a line of the answer."""
    if not step.id or step.status.startswith("Pulling from"):
        return {"status": step.status, **({"id": step.id} if step.id else {})}
    detail = {"current": step.current, "total": step.total} if step.total else {}
    shown = {"status": step.status, "progressDetail": detail}
    if step.total:
        shown["progress"] = f"{_bar(step.current, step.total)}{_size(step.current):>8}/{_size(step.total)}"
    return {**shown, "id": step.id}


def error(message: str) -> dict[str, Any]:
    """Show what went wrong after the head of the answer was sent: the status stays 200."""
    return {"errorDetail": {"message": message}, "error": message}


def _bar(current: int, total: int) -> str:
    done = min(_WIDTH, current * _WIDTH // total)
    return f"[{'=' * done}>{' ' * (_WIDTH - done)}] " if done < _WIDTH else f"[{'=' * done}>] "


def _size(count: float) -> str:
    """In decimal units, with four digits."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.4g}{_UNITS[unit]}"
