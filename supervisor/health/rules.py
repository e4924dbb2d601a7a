"""What a health check's results mean: docker's rules, as a function.  Pure.

starting until the first success (healthy) or `retries` failures in a row (unhealthy); failures in the start period do not
count as long as nothing has succeeded.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from hawse.supervisor.core.health import History, Result
from hawse.supervisor.core.model import Container, Healthcheck

STARTING: Final = "starting"
HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"
KEPT = 5  # results that `inspect` shows
MOST_OUTPUT = 4096  # bytes kept of one probe's output

_S = 1_000_000_000
INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30 * _S, 30 * _S, 5 * _S, 3  # docker's defaults


def argv(check: Healthcheck) -> tuple[str, ...]:
    """The program to run; empty when there is none."""
    match check.test:
        case ("CMD", *words):
            return tuple(words)
        case ("CMD-SHELL", text, *_):
            return ("/bin/sh", "-c", text)
    return ()


def pause(container: Container, now: int) -> int:
    """Nanoseconds until the next probe."""
    check = container.config.healthcheck
    if _is_warming_up(container, now):
        return check.start_interval or START_INTERVAL
    return check.interval or INTERVAL


def judge(container: Container, history: History, result: Result) -> tuple[str, History]:
    """Return what the container counts as after this result."""
    results = (*history.results, result)[-KEPT:]
    if result.code == 0:
        return HEALTHY, History(results=results)
    if _is_warming_up(container, result.started_at):
        return STARTING, replace(history, results=results)
    failing = history.failing + 1
    failed = failing >= (container.config.healthcheck.retries or RETRIES)
    return UNHEALTHY if failed else container.health, History(failing=failing, results=results)


def _is_warming_up(container: Container, now: int) -> bool:
    """Not by a clock that was set back since the start: it would do so for as long as the clock is behind."""
    passed = now - container.started_at
    return container.health == STARTING and 0 <= passed < container.config.healthcheck.start_period
