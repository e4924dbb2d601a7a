"""`python -m tests.lab.newroot ROOT BOUND... -- PROGRAM...`: a program for which ROOT is the machine's own root directory.

For a process in a mount namespace of its own (unshare --mount).  ROOT is not written to: an overlay lies on it, whose changes
are in memory and end with the program.  The machine's /proc, /sys, /dev and /tmp, and the directories BOUND, are in it at
their own paths.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from hawse.supervisor.linux.mounts import unmount_detached
from hawse.supervisor.linux.syscalls import pivot_root

MACHINES = ("/proc", "/sys", "/dev", "/tmp")
WAY_OUT = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""How this machine reaches its network, and pip its index."""


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def enter(root: Path, bound: list[str]) -> None:
    """Make it the root directory of this process's mount namespace, the old one out of reach.

    A root that is only chroot's would not do: the lab and hawse pivot and unmount in namespaces of their own.
    """
    layers = root / "mnt"
    mount("-t", "tmpfs", "-o", "mode=755", "layers", layers)
    for name in ("upper", "work"):
        (layers / name).mkdir()
    mount("-t", "overlay", "-o", f"lowerdir={root},upperdir={layers}/upper,workdir={layers}/work", "overlay", root)
    for how, paths in (("--rbind", MACHINES), ("--bind", bound)):
        for path in paths:
            place = root / path.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            mount(how, path, place)
    for path in filter(os.path.exists, WAY_OUT):
        shutil.copyfile(path, root / path.lstrip("/"))
    os.chdir(root)
    pivot_root(b".", b".")  # the old root then lies on top of the new one
    unmount_detached(b".")


def main() -> None:
    separator = sys.argv.index("--")
    root, *bound = sys.argv[1:separator]
    program = sys.argv[separator + 1 :]
    here = Path.cwd()
    enter(Path(root), bound)
    os.chdir(here)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
