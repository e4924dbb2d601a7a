"""Items into the file system and out of it: what is there, whose it is, and the writing.  All of it may be repeated."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from enum import StrEnum

from hawse.cli.install.inventory import Item, mark
from hawse.cli.install.manifest import Manifest

_SPECIAL = "special"
"""The mark of what is neither a file nor a link, and so never of ours."""


class Found(StrEnum):
    """What is at an item's path."""

    NOTHING = "nothing"
    SAME = "same"  # already as it shall be, whoever wrote it
    OURS = "ours"  # of another install, unchanged since
    CHANGED = "changed"  # of ours, and somebody wrote to it
    FOREIGN = "foreign"


def found(path: str, wanted: str, manifest: Manifest | None) -> Found:
    """`wanted` is the mark that it shall have.  Raises OSError."""
    there = _mark_of(path)
    if there is None:
        return Found.NOTHING
    if there == wanted:
        return Found.SAME
    known = manifest.marks.get(path) if manifest else None
    if known is None:
        return Found.FOREIGN
    return Found.OURS if there in known else Found.CHANGED


def _mark_of(path: str) -> str | None:
    """None where there is nothing."""
    try:
        return mark(b"", os.readlink(path))
    except FileNotFoundError:
        return None
    except OSError as e:
        if e.errno != errno.EINVAL:  # readlink(2): not a link
            raise
    if not os.path.isfile(path):
        return _SPECIAL
    with open(path, "rb") as file:
        return mark(file.read(), "")


def missing_directories(paths: Iterable[str]) -> list[str]:
    """Return those directories among `paths` and above them that are not there, the upper ones first."""
    missing: list[str] = []
    for path in paths:
        above = []
        while path != "/" and not os.path.isdir(path) and path not in missing:
            above.append(path)
            path = os.path.dirname(path)
        missing += reversed(above)
    return missing


def not_writable(path: str) -> str:
    """Return why nothing can be made at that path, "" when it can: something above it is in the way, or is read-only."""
    directory = os.path.dirname(path)
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if not os.path.isdir(directory):
        return f"{directory} is in the way: it is not a directory"
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{directory} is on a read-only file system"
    return ""


def make_directory(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    os.chmod(path, 0o755)  # whatever the umask


def write(item: Item) -> None:
    """In one step: whoever looks sees the old or the new, also after a power failure."""
    partial = _partial(item.path)
    _unlink(partial)
    if item.link:
        os.symlink(item.link, partial)
    else:
        with open(partial, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(item.content)
            file.flush()
            os.fsync(file.fileno())
    os.rename(partial, item.path)


def remove_ours(path: str, manifest: Manifest) -> bool:
    """Remove what a manifest claims; whether there was something.

    What the administrator made of a configuration or of a link is his: that stays.
    """
    _unlink(_partial(path))
    there, known = _mark_of(path), manifest.marks[path]
    kept_if_changed = path.startswith("/etc/hawse/") or known[0].startswith("link:")
    if there == _SPECIAL or (there not in known and kept_if_changed):
        return False
    return _unlink(path)


def _partial(path: str) -> str:
    """Return where a write that was killed leaves its beginning, for the next one; hidden from all who list directories."""
    return f"{os.path.dirname(path)}/.{os.path.basename(path)}.hawse-new"


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_empty(directories: Iterable[str]) -> list[str]:
    """Remove those that have nothing in them, from the lowest up; which were removed."""
    gone = []
    for path in sorted(directories, key=len, reverse=True):
        try:
            os.rmdir(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
            continue
        gone.append(path)
    return gone
