"""Between the daemon's exec and the hook's: joins the cgroup, becomes the user, executes the opened file.

A script of its own for a bare interpreter (`python -I -S launch.py JSON`), so that no Python of ours ever runs in a
forked child of the daemon, which has threads.  Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def main(order: str) -> None:
    """`order`: {"fd", "argv", "env", "cgroups": [...], "user": [uid, gid, [groups]] | null}."""
    given = json.loads(order)
    try:
        for cgroup in given["cgroups"]:
            with open(f"{cgroup}/cgroup.procs", "w") as procs:
                procs.write("0")
        if given["user"]:
            uid, gid, groups = given["user"]
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        os.umask(0o022)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        os.set_inheritable(given["fd"], True)  # an interpreter opens the script by it, as /dev/fd/N
        os.execve(given["fd"], given["argv"], given["env"])
    except OSError as e:
        print(f"hawse: {given['argv'][0]} cannot be executed: {e.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(126)


if __name__ == "__main__":
    main(sys.argv[1])
