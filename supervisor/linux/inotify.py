"""inotify(7): its calls, and waiting for a change in one directory.  Daemon side."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Self

IN_MODIFY = 0x002
IN_ATTRIB = 0x004
IN_MOVED_FROM = 0x040
IN_MOVED_TO = 0x080
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_init1.argtypes = [ctypes.c_int]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]


def open_instance() -> int:
    """A descriptor that does not block.  Raises OSError: EMFILE, no instances left (fs.inotify.max_user_instances)."""
    return _check(_libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC), Path())


def add_watch(instance: int, path: Path, mask: int) -> int:
    """Return its number among the instance's.  Raises OSError: ENOENT, or ENOSPC (fs.inotify.max_user_watches)."""
    return _check(_libc.inotify_add_watch(instance, os.fsencode(path), mask), path)


def remove_watch(instance: int, watch: int) -> None:
    """Gone is success."""
    _libc.inotify_rm_watch(instance, watch)


class DirectoryWatch:
    """Something in a directory was written to, made or renamed.  A context manager; opened before the first look.

    Raises OSError: ENOENT, or EMFILE when the user has no instances left (fs.inotify.max_user_instances).
    """

    def __init__(self, directory: Path, *, attributes: bool = False) -> None:
        """With `attributes`, changes of modes and owners, and deletions, count too."""
        self._fd = open_instance()
        try:
            mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
            mask |= IN_ATTRIB | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF if attributes else 0
            add_watch(self._fd, directory, mask)
        except OSError:
            os.close(self._fd)
            raise
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        # Closing an inotify instance waits for a grace period of the kernel, 7-16 ms: not in the event loop.
        try:
            loop.run_in_executor(None, os.close, self._fd)
        except RuntimeError:  # no thread to be had
            os.close(self._fd)

    async def wait(self) -> None:
        """Wait until something has changed since the last wait returned."""
        await self._changed.wait()
        self._changed.clear()

    def _drain(self) -> None:
        os.read(self._fd, 64 * 1024)
        self._changed.set()


def _check(result: int, directory: Path) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))
    return result
