"""How many bytes of files a directory holds, hard links once.  What vanishes while it is counted is not counted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hawse.supervisor.linux import threads
from hawse.supervisor.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PASSED_OVER = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)


def apparent_size(root: Path) -> int:
    """The sum of the files' lengths below `root`.  Blocks; see `sizes`.

    A program that changes a directory for a symlink meanwhile is not followed.  What is so deep that its path is longer
    than 4095 bytes (PATH_MAX) is not counted.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = ["."]
    try:
        top = os.open(root, _DIRECTORY)
    except OSError as e:
        if e.errno not in _PASSED_OVER:
            raise
        return 0
    try:
        while waiting:
            path = waiting.pop()
            for name, status in _entries(top, path):
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(f"{path}/{name}")
                elif stat.S_ISREG(status.st_mode):
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in linked:
                            continue
                        linked.add((status.st_dev, status.st_ino))
                    total += status.st_size
    finally:
        os.close(top)
    return total


def _entries(top: int, path: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        here = openat2(top, path, _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError as e:
        if e.errno not in _PASSED_OVER:
            raise
        return
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
    finally:
        os.close(here)


async def sizes(roots: list[Path]) -> list[int]:
    """Return the size of each of them, in a thread."""
    return await threads.run_sync(lambda: [apparent_size(root) for root in roots])
