"""One thread for calls that block in the kernel.

netlink sends run the kernel's work inside `sendmsg`, under the RTNL lock that a dying namespace can hold for tens of
milliseconds, and libnftables is synchronous: the event loop must not wait for either.  One thread a subject keeps the calls
in order, so that an undo which is queued after a cancelled call runs after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Runs what it is given, one after the other, in a thread of its own that starts with the first call."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._executor.submit(function, *args, **kwargs)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result.  Cancelling the wait does not stop a call that has begun."""
        return await asyncio.wrap_future(self._executor.submit(function, *args, **kwargs))

    def close(self) -> None:
        """Let queued calls finish, then end the thread."""
        self._executor.shutdown(wait=True)
