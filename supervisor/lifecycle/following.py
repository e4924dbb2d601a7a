"""A running container is followed to its end: by whoever records its exit, and by whoever tells that it is out of memory."""

from __future__ import annotations

import anyio
import anyio.abc

from hawse.supervisor.lifecycle import ending, ooms
from hawse.supervisor.linux.oom import OomNews
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim


class Following:
    def __init__(self, parts: Parts, tasks: anyio.abc.TaskGroup, oom_news: OomNews) -> None:
        self._parts = parts
        self._tasks = tasks
        self._oom_news = oom_news

    def watch(self, shim: Shim) -> None:
        """Returns at once; the following ends with the container."""
        self._tasks.start_soon(self._follow, shim)

    async def _follow(self, shim: Shim) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ooms.follow, self._parts, self._oom_news, shim.id)
            await ending.watch(self._parts, shim)
            group.cancel_scope.cancel()
