"""User namespaces: the id maps of a container, and opening what describes them.  Stdlib only: the child side imports it."""

from __future__ import annotations

import os


def write_maps(pid: int, base: int, count: int) -> None:
    """Ids 0..count-1 inside are base..base+count-1 on the host.  For root of the host, once per user namespace."""
    for name in ("uid_map", "gid_map"):
        path = f"/proc/{pid}/{name}"
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0 %d %d\n" % (base, count))
        except OSError as e:
            raise OSError(e.errno, f"write {path}: {os.strerror(e.errno or 0)}") from None
        finally:
            os.close(fd)


def open_userns(pid: int) -> int:
    return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def become_root() -> None:
    """Go from an id that the map does not hold to the namespace's own root.  Clears the parent-death signal (prctl(2))."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
