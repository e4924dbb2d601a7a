"""Whether a daemon runs though nothing answers on its socket, and whether the socket was removed under it.

Only looked at, nothing is tried: whoever takes the daemon's lock for a moment could make a starting daemon give up.
"""

from __future__ import annotations

import os

from hawse.cli.errors import NoDaemon

_LISTENS = "00010000"
"""__SO_ACCEPTCON among the flags of /proc/net/unix (unix(7)); accepted connections have their listener's path, too."""


def holder(run_dir: str) -> str:
    """The pid of the daemon that has this run directory, "" when there is none: who holds the lock in it (proc_locks(5))."""
    try:
        lock = os.stat(f"{run_dir}/daemon.lock")
    except OSError:
        return ""
    wanted = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            fields = line.split()  # of one that waits for a lock, the second is "->"
            if fields[1] == "FLOCK" and fields[5] == wanted:
                return fields[4]
    return ""


def refuse_removed(run_dir: str, path: str) -> None:
    """Raises NoDaemon when a daemon runs and listens on a socket that is no longer at `path`."""
    # In this order: a daemon that ends closes its socket before it removes the file, so it is not mistaken for one that stays.
    if os.path.lexists(path) or not _listens(path) or not (pid := holder(run_dir)):
        return
    raise NoDaemon(
        f"the hawse daemon (pid {pid}) runs, but its socket {path} is missing: somebody removed it\n"
        "Under systemd: systemctl restart hawse.socket hawse.service.\n"
        f"Otherwise end the daemon (kill {pid}; containers run on) and start it again."
    )


def _listens(path: str) -> bool:
    """Tell whether a socket that was bound to this path listens, wherever its file is by now."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        return any(
            fields[3] == _LISTENS and fields[-1] == path
            for fields in (line.rstrip("\n").split(maxsplit=7) for line in file)
            if len(fields) == 8
        )
