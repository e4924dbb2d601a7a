"""How many bytes of files a directory holds, hard links once.  What vanishes while it is counted is not counted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hawse.supervisor.linux import threads


def apparent_size(root: Path) -> int:
    """The sum of the files' lengths below `root`, which symlinks do not leave.  Blocks; see `sizes`."""
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
                    elif stat.S_ISREG(status.st_mode):
                        if status.st_nlink > 1:
                            if (status.st_dev, status.st_ino) in linked:
                                continue
                            linked.add((status.st_dev, status.st_ino))
                        total += status.st_size
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
    return total


async def sizes(roots: list[Path]) -> list[int]:
    """Of each of them, in a thread."""
    return await threads.run_sync(lambda: [apparent_size(root) for root in roots])
