"""The mounts of the caller's namespace, as /proc/self/mountinfo tells them.  Stdlib only: the child side imports it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of it (proc_pid_mountinfo(5))."""

    point: str
    kind: str  # of file system
    shared: bool  # it has peers, to which its mounts go
    slave: bool  # it hears of the mounts of a peer group


def read() -> dict[int, Mount]:
    """By mount id, in the kernel's order: a parent comes before its children."""
    with open("/proc/self/mountinfo", "rb") as f:
        return dict(map(_parse, f.read().splitlines()))


def mount_id(fd: int) -> int:
    """The mount that an open descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}") as f:
        for line in f:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(f"/proc/self/fdinfo/{fd} has no mnt_id")


def filesystem(path: Path) -> str:
    """The kind of file system that `path` is on."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return read()[mount_id(fd)].kind
    finally:
        os.close(fd)


def below(table: dict[int, Mount], top: str) -> Iterator[str]:
    """The mount points below the directory `top`, relative to it."""
    prefix = top.rstrip("/") + "/"
    for mount in table.values():
        if mount.point.startswith(prefix) and mount.point != prefix:
            yield mount.point[len(prefix) :]


def _parse(line: bytes) -> tuple[int, Mount]:
    fields = line.split(b" ")
    optional = fields[6 : fields.index(b"-", 6)]
    point = _ESCAPED.sub(lambda m: bytes([int(m[1], 8)]), fields[4])
    return int(fields[0]), Mount(
        point=point.decode(errors="surrogateescape"),
        kind=fields[fields.index(b"-", 6) + 1].decode(),
        shared=any(o.startswith(b"shared:") for o in optional),
        slave=any(o.startswith(b"master:") for o in optional),
    )
