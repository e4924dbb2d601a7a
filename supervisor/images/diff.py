"""What a container changed, for `diff`: its overlay's upper directory read against the layers below it.  Blocking.

Only looked at, entry by entry, without following symlinks; nothing is mounted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from hawse.supervisor.images.commit_layer import PLACEHOLDERS
from hawse.supervisor.images.whiteouts import is_whiteout, overlay_attribute
from hawse.supervisor.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Kind(IntEnum):
    """Docker's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    path: str
    kind: Kind


def changes(upper: Path, lowers: list[Path]) -> list[Change]:
    """By path.  `lowers` is top first.  A container that never ran has changed nothing."""
    found: list[Change] = []
    try:
        tops = [os.open(upper, _DIRECTORY)]
    except FileNotFoundError:
        return found
    try:
        tops.extend(os.open(lower, _DIRECTORY) for lower in lowers)
        waiting = [""]
        while waiting:
            path = waiting.pop()
            try:
                here = _directory(tops[0], path or ".")
            except (FileNotFoundError, NotADirectoryError):
                continue  # a running container is quicker than we are
            try:
                for name in os.listdir(here):
                    full = f"{path}/{name}" if path else name
                    change = _change(here, name, full, tops[1:])
                    if change is not None:
                        found.append(change)
                        if change.kind is not Kind.DELETED and _is_directory(here, name):
                            waiting.append(full)
            finally:
                os.close(here)
    finally:
        for fd in tops:
            os.close(fd)
    return sorted(found, key=lambda change: change.path)


def _change(here: int, name: str, full: str, lowers: list[int]) -> Change | None:
    try:
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if is_whiteout(status):
        return Change(f"/{full}", Kind.DELETED)
    if full in PLACEHOLDERS and status.st_size == 0:
        return None  # where the engine mounts a file of its own
    return Change(f"/{full}", Kind.MODIFIED if _is_below(full, lowers) else Kind.ADDED)


def _is_directory(here: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _is_below(path: str, lowers: list[int]) -> bool:
    """Tell whether the layers, laid over each other, have the path."""
    parent, _, name = path.rpartition("/")
    for lower in lowers:
        try:
            here = _directory(lower, parent or ".")
        except FileNotFoundError:
            if _hides(lower, parent):
                return False
            continue
        except OSError:  # a file or a symlink where a directory would be: nothing further down counts
            return False
        try:
            return not is_whiteout(os.stat(name, dir_fd=here, follow_symlinks=False))
        except FileNotFoundError:
            if overlay_attribute(here, "opaque") == b"y":
                return False
        finally:
            os.close(here)
    return False


def _hides(lower: int, path: str) -> bool:
    """A part of the path is whited out or opaque in this layer."""
    parts = path.split("/")
    for depth in range(len(parts)):
        try:
            here = _directory(lower, "/".join(parts[:depth]) or ".")
        except OSError:
            return False
        try:
            status = os.stat(parts[depth], dir_fd=here, follow_symlinks=False)
            if is_whiteout(status):
                return True
        except FileNotFoundError:
            return overlay_attribute(here, "opaque") == b"y"
        finally:
            os.close(here)
    return False


def _directory(top: int, path: str) -> int:
    return openat2(top, path, _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
