"""Who a container's program runs as: docker's `--user` resolved against the image's /etc/passwd and /etc/group.

`resolve` is pure.  `read_database` reads those files as the hostile input they are.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hawse.supervisor.linux.syscalls import AT_FDCWD, RESOLVE_NO_MAGICLINKS, openat2

MAX_ID = 2**31 - 1
MAX_DATABASE = 16 << 20  # bytes; a bigger passwd file is an attack or an accident


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A resolved user."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class UnknownUser(ValueError):
    """A user or group that cannot be resolved; the text is docker's."""


def resolve(user: str, extra_groups: Sequence[str], passwd: str, group: str) -> Identity:
    """`user` is "", "name|uid" or "name|uid:name|gid"; with an explicit group there are no supplementary ones.

    Raises UnknownUser.
    """
    who, _, which = user.partition(":")
    who = who or "0"
    entry = next(_passwd_entries(passwd, who), None)
    if entry is None:
        uid, gid, home, name = _number(who), 0, "/", None
        if uid is None:
            raise UnknownUser(f"unable to find user {who}: no matching entries in passwd file")
    else:
        name, uid, gid, home = entry
    groups: list[int] = []
    if which:
        gid = _group(which, group)
    elif name is not None:
        groups = [number for _, number, members in _group_entries(group) if name in members]
    groups += [_group(extra, group) for extra in extra_groups]
    for number in (uid, gid, *groups):
        if not 0 <= number <= MAX_ID:
            raise UnknownUser(f"uids and gids must be in range 0-{MAX_ID}")
    # The primary group is among the supplementary ones, so that giving it up by setgid changes nothing (CVE-2022-36109).
    return Identity(uid=uid, gid=gid, groups=tuple(dict.fromkeys((gid, *groups))), home=home or "/")


def read_database(path: str) -> str:
    """The text of passwd or group, "" if there is none.

    Raises OSError when it is no plain file of a sane size, or behind a magic link of /proc, which may lead anywhere.
    """
    try:
        fd = openat2(AT_FDCWD, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, RESOLVE_NO_MAGICLINKS)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_DATABASE:
            raise OSError(22, f"{path} is not a plain file of at most {MAX_DATABASE >> 20} MiB")
        return os.read(fd, status.st_size).decode(errors="surrogateescape")
    finally:
        os.close(fd)


def _number(text: str) -> int | None:
    """A decimal id.  Stricter than int(): no sign, space, underscore or foreign digit is a number here."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _lines(text: str) -> Iterator[str]:
    """Read one line at a time: the container's memory, where this runs, may be little.  Only a newline ends one (passwd(5))."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _passwd_entries(passwd: str, who: str) -> Iterator[tuple[str, int, int, str]]:
    """(name, uid, gid, home) of the entries that have `who` as their name or, if it is a number, as their uid."""
    number = _number(who)
    for line in _lines(passwd):
        parts = line.strip().split(":")
        if len(parts) < 4 or line.startswith("#"):
            continue
        uid, gid = _number(parts[2]), _number(parts[3])
        if uid is None or gid is None:
            continue
        if parts[0] == who or (number is not None and uid == number):
            yield parts[0], uid, gid, parts[5] if len(parts) > 5 else ""


def _group_entries(group: str) -> Iterator[tuple[str, int, list[str]]]:
    for line in _lines(group):
        parts = line.strip().split(":")
        if len(parts) < 3 or line.startswith("#"):
            continue
        gid = _number(parts[2])
        if gid is not None:
            yield parts[0], gid, parts[3].split(",") if len(parts) > 3 else []


def _group(which: str, group: str) -> int:
    number = _number(which)
    for name, gid, _ in _group_entries(group):
        if name == which or gid == number:
            return gid
    if number is None:
        raise UnknownUser(f"unable to find group {which}: no matching entries in group file")
    return number
