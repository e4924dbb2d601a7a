"""Blocking calls in a thread of their own, for the event loop.

A machine (or a limit on processes) may refuse one more thread.  That is an error of the call that wanted it, not of us.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

from hawse.supervisor.core.errors import KernelError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_sync(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """`function(*args)`, to its end though the caller be cancelled.  Raises KernelError when no thread can be had."""
    try:
        return await anyio.to_thread.run_sync(function, *args)
    except RuntimeError as e:
        if "start new thread" not in str(e):
            raise
        raise KernelError("thread", errno.EAGAIN) from e
