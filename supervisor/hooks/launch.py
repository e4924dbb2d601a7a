"""Between the daemon's exec and the hook's: joins the cgroup, becomes the user, executes the opened file.

A script of its own for a bare interpreter (`python -I -S launch.py FD CGROUP USER ARGV...`), so that no Python of ours ever
runs in a forked child of the daemon, which has threads.  Its environment is the hook's.  Nothing is imported that a bare
interpreter has not loaded anyway: json and signal would make the hook wait ten milliseconds more.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys


def main(fd: str, cgroup: str, user: str, *argv: str) -> None:
    """`cgroup`: a directory, or ""; `user`: "", or uid, gid and supplementary groups with commas between."""
    try:
        if cgroup:
            # One thread alone may join by `tasks` of v1, which does not wait 10 ms for the kernel as cgroup.procs does.
            tasks = f"{cgroup}/tasks"
            joining = os.open(tasks if os.path.exists(tasks) else f"{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.write(joining, b"0")
        if user:
            uid, gid, *groups = map(int, user.split(","))
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        os.umask(0o022)
        for ignored in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(ignored, _signal.SIG_DFL)
        os.set_inheritable(int(fd), True)  # an interpreter opens the script by it, as /dev/fd/N
        os.execve(int(fd), argv, os.environ)
    except OSError as e:
        os.write(2, f"hawse: {argv[0]} cannot be executed: {e.strerror}\n".encode())
        os._exit(126)


if __name__ == "__main__":
    main(*sys.argv[1:])
