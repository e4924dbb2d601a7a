"""Kernel settings of the network, read and written as files of /proc/sys (of the namespace that the caller is in)."""

from __future__ import annotations

import errno
from pathlib import Path

from hawse.supervisor.core.errors import KernelError

ROOT = Path("/proc/sys")


def path(*parts: str) -> Path:
    """The file of a setting.  Parts and not a dotted name, because a device's name may have dots."""
    return ROOT.joinpath(*parts)


def read(*parts: str) -> str | None:
    """The value, None where this kernel or namespace has no such setting."""
    try:
        return path(*parts).read_text().strip()
    except OSError:
        return None


def write(value: str, *parts: str, optional: bool = False) -> str | None:
    """Set it if it differs; the old value when it was changed, else None.

    Raises KernelError; not for a missing setting that is `optional` (a kernel without IPv6).
    """
    old = read(*parts)
    if old == value:
        return None
    try:
        path(*parts).write_text(value)
    except OSError as e:
        if optional and e.errno == errno.ENOENT:
            return None
        raise KernelError(f"set {'.'.join(parts)} = {value}", e.errno or errno.EIO) from e
    return old
