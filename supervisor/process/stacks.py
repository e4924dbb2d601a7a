"""What every asyncio task is waiting for, for the log (SIGUSR1): the daemon's answer to "what hangs?".

The stacks of threads are written at the same signal (signals.py).
"""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Iterator
from types import FrameType
from typing import Any

import structlog

NAMES = 5  # of the tasks that wait at the same place; a daemon may have one for each of a thousand containers

log = structlog.get_logger()


def tell(tasks: set[asyncio.Task[Any]]) -> None:
    """Log one line for each place where tasks wait, with how many do; the innermost call is the last."""
    waiting: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for task in tasks:
        places = (_place(frame) for frame in _frames(task.get_coro()))
        waiting[tuple(places)].append(task.get_name())
    for stack, names in sorted(waiting.items()):
        log.info("tasks_wait", tasks=len(names), names=sorted(names)[:NAMES], stack=list(stack))


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Walk from the outermost coroutine to what it waits for.  Task.get_stack() has only the first of a suspended one."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            if (frame := getattr(awaited, f"{kind}_frame", None)) is not None:
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return


def _place(frame: FrameType) -> str:
    summary = traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
    return f"{summary.filename}:{summary.lineno} {summary.name}: {summary.line}"
