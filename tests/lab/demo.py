"""What script/demo shows: one container's life in a lab, told to a person.  Exits 1 when anything is left behind."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.snapshot import Snapshot
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.lab.roots import debian_root

BOLD, DIM, GREEN, RED, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5
)
SHOWN = {"link": "links", "address": "addresses", "route": "routes", "nft": "nftables objects", "record": "rows"} | {
    "mount": "mounts",
    "cgroup": "cgroups",
    "process": "processes",
    "file": "files",
}


class Show:
    """Prints steps with the time they took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        self.line(f"\n{BOLD}{text}{PLAIN}")

    def line(self, text: str = "") -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def command(self, text: str) -> None:
        self.line(f"  {DIM}${PLAIN} {text}")

    def output(self, text: str) -> None:
        for line in text.rstrip("\n").split("\n"):
            self.line(f"  {line}")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began


def hawse(show: Show, lab: Lab, *args: str, shown: str = "") -> str:
    """Run a command of ours the way a person would, and show it."""
    show.command(f"hawse {shown or ' '.join(args)}")
    out = lab.hawse(*args).out
    show.output(out)
    return out.strip()


def tour(show: Show, lab: Lab, debian: Path) -> None:
    show.title("A network")
    hawse(show, lab, "network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")

    show.title("A web server in a container")
    flags = ("run", "-d", "--name", "web", "--network", "testbr", "-p", "8080:80")
    hawse(
        *(show, lab, *flags, "--rootfs", str(debian), "nginx", "-g", "daemon off;"),
        shown=f"{' '.join(flags)} --rootfs DEBIAN nginx -g 'daemon off;'",
    )
    stages = lab.inspect("web")["Hawse"]["Stages"]
    show.output(f"{DIM}started in {stages['total'] / 1000:.1f} ms: namespaces, mounts, cable, rules, exec{PLAIN}")

    show.title("The page, fetched by another machine")
    show.line(f"  {DIM}{lab.client.address}>{PLAIN} GET http://{HOST}:8080/")
    page = eventually(lambda: lab.client.get(HOST, 8080), interval=0.005).decode()
    show.output("\n".join(re.findall(r"<h1>.*</h1>|<p>.*", page)[:2]))

    show.title("Who runs where")
    hawse(show, lab, "ps")

    show.title("Gone again")
    hawse(show, lab, "rm", "-f", "web")
    hawse(show, lab, "network", "remove", "testbr")


def read_until(stream: subprocess.Popen[bytes], last: bytes, timeout: float = PATIENCE) -> str:
    """What a program prints up to the line that has `last` in it."""
    assert stream.stdout is not None
    told = b""
    deadline = time.monotonic() + timeout
    while not (last in told and told.endswith(b"\n")):
        if not select.select([stream.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"the event stream says only {told!r}")
        told += os.read(stream.stdout.fileno(), 65536)
    return told.decode()


def verdict(show: Show, lab: Lab, before: Snapshot) -> bool:
    """Compare the world with what it was; True when nothing differs."""
    show.title("Before and after")
    leaks = lab.leaks(before)
    now = lab.snapshot()
    for kind, name in SHOWN.items():
        differing = [line for line in leaks if line[2:].startswith(f"{kind} ")]
        mark = f"{RED}differ{PLAIN}" if differing else f"{GREEN}the same{PLAIN}"
        show.line(f"  {name:<18}{before.facts[kind].total():>5}  → {now.facts[kind].total():>5}   {mark}")
    for line in leaks:
        show.line(f"  {RED}{line}{PLAIN}")
    leases = {line: n for line, n in now.facts["record"].items() if line.endswith("leases")}
    show.line(f"  {DIM}leases held: {sum(leases.values())}{PLAIN}")
    return not leaks


def main() -> int:
    debian = debian_root()
    show = Show()
    show.line(f"{DIM}In a lab of its own: a host, a client and an internet made of namespaces.{PLAIN}")
    with Lab() as lab:
        show.title("The supervisor")
        show.command("hawse daemon &")
        lab.daemon.start()
        show.output(f"{DIM}answers after {show.elapsed * 1000:.0f} ms{PLAIN}")
        before = lab.settled()
        events = lab.popen(
            ["hawse", "events", "--format", "table", "--since", f"{time.time():.3f}"], stdout=subprocess.PIPE
        )
        try:
            tour(show, lab, debian)
            told = read_until(events, b"network.removed")
        finally:
            events.terminate()
            events.communicate()
        show.title("What the event stream said meanwhile")
        show.command("hawse events")
        show.output(told)
        clean = verdict(show, lab, before)
    show.line(
        f"\n{GREEN if clean else RED}{'Nothing is left.' if clean else 'Something is left!'}{PLAIN} {show.elapsed:.1f} s"
    )
    return 0 if clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
