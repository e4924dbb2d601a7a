"""Which process is which: identities that survive pid reuse, and pidfds opened for just the process that was meant.

Daemon side.  A bare pid means nothing here; signals go through a pidfd.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache

from hawse.supervisor.model import ProcessIdentity


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
    """Who `pid` is right now; None when nobody is.  Race-free only while the caller holds a pidfd of it."""
    started = start_time(pid)
    return None if started is None else ProcessIdentity(pid=pid, start_time=started, boot_id=boot_id())


def open_pidfd(who: ProcessIdentity) -> int | None:
    """A pidfd (close-on-exec) of exactly that process, a zombie included; None when it is gone, whoever has its pid now."""
    if who.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return None
    # The pidfd pins whoever has the pid; comparing after opening makes sure that it is the one we mean.
    if start_time(who.pid) != who.start_time:
        os.close(pidfd)
        return None
    return pidfd


async def wait_pidfd(pidfd: int, timeout: float | None) -> bool:
    """Whether the process of `pidfd` is dead at the latest after `timeout` seconds (None: until it is)."""
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
