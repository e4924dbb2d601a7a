"""How a process of a container enters its cgroups of version 1.  (Into version 2's it is born, by CLONE_INTO_CGROUP.)

Stdlib only: the child side imports it.
"""

from __future__ import annotations

import os

from hawse.supervisor.shim.program import Failure


def join(cgroups: list[str]) -> None:
    """Enter cgroups of version 1; only for a process with one thread, and while the host's files are in reach.

    A write of another's pid to `cgroup.procs` takes the kernel's lock against forks, for which it waits some 10 ms (an
    RCU grace period).  A thread that moves only itself needs no lock (Linux 5.5): all of them take 0.2 ms.
    """
    for path in cgroups:
        try:
            fd = os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
        except OSError as e:
            raise Failure("cgroup", f"join cgroup {path}: {os.strerror(e.errno or 0)}", e.errno or 0) from None
