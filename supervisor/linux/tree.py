"""Directory trees that a container could write to: removed without following anything it left there.

Nothing here goes down a path: every step is relative to a descriptor, never follows a symlink, and needs as many
descriptors for a tree a thousand levels deep as for a flat one.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove `path` whatever it is; gone is success.  Blocking: minutes for a million files.

    Removes as much as it can, then raises the first OSError that it met.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
    except FileNotFoundError:
        return
    errors: list[OSError] = []  # the first is enough
    top = os.open(path, _DIRECTORY)
    try:
        # Each directory further down is moved up to the top before it is emptied, so there are never more than two levels.
        numbers = itertools.count()
        pending = _clear(top, top, numbers, errors)
        while pending:
            name = pending.pop()
            try:
                below = os.open(name, _DIRECTORY, dir_fd=top)
                try:
                    pending += _clear(below, top, numbers, errors)
                finally:
                    os.close(below)
                os.rmdir(name, dir_fd=top)
            except OSError as e:
                _note(errors, e)
    finally:
        os.close(top)
    if errors:
        raise errors[0]
    path.rmdir()


def _clear(directory: int, top: int, numbers: Iterator[int], errors: list[OSError]) -> list[str]:
    """Unlink the files of one directory and move its directories to the top; the names that they have there."""
    moved = []
    # What is removed while the directory is read is no reason to miss what is still to come (readdir(3p)); nothing is kept
    # of the files, there may be millions.
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=directory)
                elif directory == top:
                    moved.append(entry.name)
                else:
                    moved.append(_move_up(entry.name, directory, top, numbers))
            except FileNotFoundError:
                continue
            except OSError as e:
                _note(errors, e)
    return moved


def _note(errors: list[OSError], error: OSError) -> None:
    if not errors:
        errors.append(error)


def _move_up(name: str, directory: int, top: int, numbers: Iterator[int]) -> str:
    while True:
        there = f".hawse-{next(numbers)}"
        try:
            os.stat(there, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, there, src_dir_fd=directory, dst_dir_fd=top)
            return there
