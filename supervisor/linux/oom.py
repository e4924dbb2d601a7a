"""The kernel's word that it ran out of memory in a cgroup: one inotify instance for v2's memory.events, an eventfd for v1.

On v1 the word comes before the kill (memory.rst, "OOM Control"), on v2 after it (cgroup-v2.rst, "memory.events").
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hawse.supervisor.linux import inotify
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_hierarchy import write

_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows: none, for a file


class OomNews:
    """Who waits for which cgroup.  Belongs to one event loop; `close` when nobody watches."""

    def __init__(self) -> None:
        self._inotify = -1
        self._watches: dict[int, asyncio.Event] = {}

    @contextmanager
    def watch(self, cgroup: Cgroup) -> Iterator[asyncio.Event]:
        """An event that is set when the kernel has said something.  Raises OSError: the cgroup is gone, a limit of inotify."""
        told = asyncio.Event()
        path = cgroup.memory_path
        if path is None:
            yield told
        elif (path / "memory.events").exists():
            with self._watch_v2(path / "memory.events", told):
                yield told
        else:
            with _watch_v1(path, told):
                yield told

    def close(self) -> None:
        if self._inotify >= 0:
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1

    @contextmanager
    def _watch_v2(self, file: Path, told: asyncio.Event) -> Iterator[None]:
        if self._inotify < 0:
            self._inotify = inotify.open_instance()
            asyncio.get_running_loop().add_reader(self._inotify, self._drain)
        watch = inotify.add_watch(self._inotify, file, inotify.IN_MODIFY)
        self._watches[watch] = told
        try:
            yield
        finally:
            if self._watches.get(watch) is told:
                del self._watches[watch]
                inotify.remove_watch(self._inotify, watch)

    def _drain(self) -> None:
        for watch, mask, _, _ in _EVENT.iter_unpack(os.read(self._inotify, 4096 * _EVENT.size)):
            told = self._watches.get(watch)
            if mask & inotify.IN_Q_OVERFLOW:
                for each in self._watches.values():
                    each.set()
            elif mask & inotify.IN_IGNORED:  # the cgroup went; its number may be another's next
                self._watches.pop(watch, None)
            elif told:
                told.set()


@contextmanager
def _watch_v1(path: Path, told: asyncio.Event) -> Iterator[None]:
    """cgroup.event_control takes "<eventfd> <descriptor of the control file>" (cgroup-v1/memory.rst, "OOM Control")."""
    loop = asyncio.get_running_loop()
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def drain() -> None:
        os.eventfd_read(event)
        told.set()

    try:
        control = os.open(path / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(path / "cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
        loop.add_reader(event, drain)
        try:
            yield
        finally:
            loop.remove_reader(event)
    finally:
        os.close(event)
