"""The place of shims among the cgroups of v2: beside those of the containers, outside of the daemon's own.

What is in the daemon's unit dies with `systemctl kill -s KILL hawse`, and is named as left over at each of its restarts.
The daemon says where (`Hierarchy.make_shims`), the spawner forks shims there (`fork_into`).  Nothing else depends on it:
where there is no v2, or the place cannot be had, a shim is where the spawner is.  Stdlib only.
"""

from __future__ import annotations

import os

from hawse.supervisor.linux import syscalls


def fork_into(directory: str) -> int:
    """Fork as os.fork does, with the child in that cgroup if possible.  Raises OSError.

    By clone3, since moving a process costs it some 10 ms of waiting for the kernel.  The directory is opened each time: its
    unit may have been stopped and started.
    """
    if not directory:
        return os.fork()
    try:
        cgroup = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return os.fork()
    try:
        pid, pidfd = syscalls.clone3(0, cgroup)
    except OSError:
        return os.fork()
    finally:
        os.close(cgroup)
    if pid:
        os.close(pidfd)
    return pid
