"""PID 1 of a lab: makes the lab's mounts and its three machines, then lives until its stdin ends; all dies with it.

Started by lab.py through unshare(1) in new mount, network, pid, uts and ipc namespaces.  Standard library only; runs as
a plain script.  It writes its pid as the outside sees it, and "ready", on stdout.

    client 10.199.0.2 ── cli0 10.199.0.1 [host] 198.51.100.1 up0 ── 198.51.100.2 internet
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

NETWORK = """\
link set lo up
link add cli0 type veth peer name eth0 netns client
link add up0 type veth peer name eth0 netns internet
link set cli0 addrgenmode none
link set up0 addrgenmode none
addr add 10.199.0.1/24 dev cli0
addr add 198.51.100.1/24 dev up0
link set cli0 up
link set up0 up
route add default via 198.51.100.2
"""
MACHINE = """\
link set lo up
link set eth0 addrgenmode none
addr add {address}/24 dev eth0
link set eth0 up
route add default via {gateway}
"""


def sh(*argv: str, text: str | None = None) -> None:
    subprocess.run(argv, input=text, text=True, check=True, stdin=None if text else subprocess.DEVNULL)


def cover(directory: str, mode: str, keep: list[str]) -> None:
    """An empty tmpfs over `directory`, with the paths of `keep` that lie below it still there."""
    below = [p for p in keep if Path(p).is_relative_to(directory)]
    below = [p for p in below if not any(Path(p) != Path(q) and Path(p).is_relative_to(q) for q in below)]
    if Path(directory).resolve() in map(Path, below):
        raise SystemExit(f"lab: {directory} itself is in use; the lab would hide it")
    holds = [os.open(p, os.O_PATH) for p in below]
    sh("mount", "-t", "tmpfs", "-o", f"mode={mode}", "hawse-lab", directory)
    for path, fd in zip(below, holds, strict=True):
        Path(path).mkdir(parents=True)
        bind(fd, path)
        os.close(fd)


def bind(fd: int, target: str) -> None:
    """Bind what an O_PATH descriptor refers to, also when its path is hidden by now."""
    subprocess.run(["mount", "--no-canonicalize", "--rbind", f"/proc/self/fd/{fd}", target], check=True, pass_fds=[fd])


def mounts(keep: list[str]) -> None:
    cover("/tmp", "1777", keep)
    cover("/run", "755", keep)
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH)
    sh("mount", "-t", "sysfs", "-o", "nosuid,noexec,nodev", "sysfs", "/sys")  # that of the new network namespace
    bind(cgroups, "/sys/fs/cgroup")
    os.close(cgroups)
    sh("mount", "-t", "proc", "-o", "nosuid,noexec,nodev", "proc", "/proc")
    # As systemd leaves it at boot: what a container's mounts would do to a real machine, they do to this one.  The groups
    # are new ones, for unshare(1) has made everything private: none reaches the machine.
    sh("mount", "--make-rshared", "/")


def machines() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # turning it on is the supervisor's job
    for name in ("client", "internet"):
        sh("ip", "netns", "add", name)
    sh("ip", "-batch", "-", text=NETWORK)
    sh("ip", "-n", "client", "-batch", "-", text=MACHINE.format(address="10.199.0.2", gateway="10.199.0.1"))
    sh("ip", "-n", "internet", "-batch", "-", text=MACHINE.format(address="198.51.100.2", gateway="198.51.100.1"))


def main() -> None:
    outside_pid = os.readlink("/proc/self")  # the old procfs still tells the old number
    keep = sys.argv[1:]
    mounts(keep)
    sh("hostname", "hawse-lab")
    machines()
    # The kernel reaps (wait(2), "ECHILD").  A handler of ours could miss one: a signal that comes between Python's look for
    # signals and read(2) waits there for the next.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever made the lab; it closes our stdin
    sys.stdout.write(f"{outside_pid} ready\n")
    sys.stdout.flush()
    os.read(0, 1)


if __name__ == "__main__":
    main()
