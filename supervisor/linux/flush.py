"""Files that a power cut must not leave empty under their names: on the disk before anything that names them is written."""

from __future__ import annotations

import os

from hawse.supervisor.linux import syscalls


def flush_directory(path: str | os.PathLike[str]) -> None:
    """The names in it are on the disk: what was made, renamed or removed there.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def flush_tree(path: str | os.PathLike[str]) -> None:
    """Every file below it is on the disk, with all else on its file system.  Raises OSError.

    One call for any number of files: an fsync of each would commit the file system's journal as many times.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)
