"""Which process is which: identities that survive pid reuse, and pidfds opened for just the process that was meant.

Daemon side.  A bare pid means nothing here; signals go through a pidfd.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from functools import cache
from typing import Final

from hawse.supervisor.core.model import ProcessIdentity

# linux/pidfd.h: struct pidfd_info as first published, exit_code last
PIDFD_INFO_SIZE: Final = 64
PIDFD_GET_INFO: Final = 3 << 30 | PIDFD_INFO_SIZE << 16 | 0xFF << 8 | 11
PIDFD_INFO_EXIT: Final = 1 << 3


@cache
def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as f:
        return f.read().strip()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)), clock ticks since boot; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            text = f.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name, field 2, is in parentheses and may itself hold spaces and parentheses.
    return int(text.rpartition(b")")[2].split()[19])


def identity(pid: int) -> ProcessIdentity | None:
    """Return who `pid` is right now; None when nobody is.  Race-free only while the caller holds a pidfd of it."""
    started = start_time(pid)
    return None if started is None else ProcessIdentity(pid=pid, start_time=started, boot_id=boot_id())


def pin(pid: int) -> int | None:
    """A pidfd (close-on-exec) of whoever has that pid, a zombie included; None when nobody has it, or not any more.

    Of a process that is just being reaped kernels before 6.15 say EINVAL, later ones ESRCH.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as e:
        if e.errno not in (errno.ESRCH, errno.EINVAL):
            raise
        return None


def open_pidfd(who: ProcessIdentity) -> int | None:
    """A pidfd (close-on-exec) of exactly that process, a zombie included; None when it is gone, whoever has its pid now."""
    if who.boot_id != boot_id():
        return None
    pidfd = pin(who.pid)
    if pidfd is None:
        return None
    # The pidfd pins whoever has the pid; comparing after opening makes sure that it is the one we mean.
    if start_time(who.pid) != who.start_time:
        os.close(pidfd)
        return None
    return pidfd


def exit_status(pidfd: int) -> int | None:
    """Return how the process ended (a status as of wait(2)), from a kernel that remembers (6.15).

    None while it lives, while its parent has not waited for it, and from older kernels.
    """
    info = bytearray(PIDFD_INFO_SIZE)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", info)
    (status,) = struct.unpack_from("=i", info, PIDFD_INFO_SIZE - 4)
    return int(status) if mask & PIDFD_INFO_EXIT else None


async def wait_pidfd(pidfd: int, timeout: float | None) -> bool:
    """Tell whether the process of `pidfd` is dead at the latest after `timeout` seconds (None: until it is)."""
    loop = asyncio.get_running_loop()
    own = os.dup(pidfd)  # several may wait for one process, and the loop keeps one reader per descriptor
    dead = asyncio.Event()
    loop.add_reader(own, dead.set)
    try:
        async with asyncio.timeout(timeout):
            await dead.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(own)
        os.close(own)
    return True
