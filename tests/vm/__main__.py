"""`script/vm`: hawse's tests and trials in a real machine, or a shell in one."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from tests.vm import wheels
from tests.vm.image import SUITES, image
from tests.vm.install import install
from tests.vm.machine import Machine
from tests.vm.power import cuts
from tests.vm.power.reboot import Comeback
from tests.vm.suite import KINDS, place, run_suite

LEAVE = b"\x1d"  # Ctrl-]


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/vm", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    test = verbs.add_parser("test", help="run tests/machine; further arguments go to pytest, such as -k reboot")
    shell = verbs.add_parser("shell", help="a throwaway machine with hawse installed; its console is yours")
    inside = verbs.add_parser("suite", help="run the other tests inside one; further arguments go to pytest")
    inside.add_argument(
        "places", nargs="+", type=place, metavar="WHICH", help=f"{', '.join(KINDS)}, or a file of theirs"
    )
    cutting = verbs.add_parser(
        "cuts", help="power cuts at random moments of work, and what was kept of what was answered"
    )
    cutting.add_argument("--cuts", type=int, default=30)
    cutting.add_argument("--seed", type=int, default=1, help="of the first; the others count on")
    cutting.add_argument("--durable", choices=("on", "off"), default="on")
    restarting = verbs.add_parser("reboot", help="a reboot with many containers: which come back, how fast")
    restarting.add_argument("--containers", type=int, default=50)
    for verb in (test, shell, inside, cutting, restarting):
        verb.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the Debian release (%(default)s)")
    options, rest = parser.parse_known_args()
    match options.verb:
        case "test":
            return run_tests(options.suite, rest)
        case "suite":
            with tempfile.TemporaryDirectory(prefix="hawse-vm-") as scratch:
                return run_suite(options.suite, options.places, rest, Path(scratch) / options.suite)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    match options.verb:
        case "cuts":
            return run_cuts(options.suite, range(options.seed, options.seed + options.cuts), options.durable)
        case "reboot":
            return run_reboot(options.suite, options.containers)
    return run_shell(options.suite)


def run_tests(suite: str, arguments: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "--privileged", "--machines", "whole", "--suite", suite, "-v"]
    return subprocess.run([*pytest, *arguments, "tests/machine"], check=False).returncode


def run_cuts(suite: str, seeds: range, durable: str) -> int:
    """One line for each cut, then the sums; 1 when anything was broken, or lost although it was durable."""
    found: list[cuts.Verdict] = []
    with _installed(suite) as machine:
        machine.run(
            f"mkdir -p /etc/hawse; echo 'durable = \"{durable}\"' >/etc/hawse/hawse.toml; systemctl restart hawse"
        )
        for seed in seeds:
            found.append(cuts.cut(machine, seed))
            sys.stdout.write(f"{found[-1]}\n")
            sys.stdout.flush()
            cuts.clean(machine)
    lost, broken = sum(len(v.lost) for v in found), sum(len(v.broken) for v in found)
    sys.stdout.write(f"{len(found)} cuts, durable {durable}: {sum(v.answers for v in found)} answers, ")
    sys.stdout.write(f"{lost} of them lost in {sum(bool(v.lost) for v in found)} cuts, {broken} things broken\n")
    return int(bool(broken or (lost and durable == "on")))


def run_reboot(suite: str, containers: int) -> int:
    with _installed(suite) as machine:
        back = Comeback.of(machine, containers)
        sys.stdout.write(f"{back}\n")
    return int(bool(back.silent))


def run_shell(suite: str) -> int:
    with _installed(suite) as machine:
        sys.stderr.write(f"{machine.share} is /share inside; `poweroff` or Ctrl-] ends the machine\n")
        _be_console(machine.directory / "console")
    return 0


@contextmanager
def _installed(suite: str) -> Iterator[Machine]:
    """A throwaway machine with hawse and the image busybox."""
    with tempfile.TemporaryDirectory(prefix="hawse-vm-") as scratch:
        sys.stderr.write("booting …\n")
        with Machine(image(suite), Path(scratch) / suite) as machine:
            sys.stderr.write("installing hawse …\n")
            wheels.put(suite, machine.share / "wheels")
            install(machine)
            shutil.copy(busybox_tar(), machine.share / "busybox.tar")
            machine.run("hawse image import /share/busybox.tar busybox")
            yield machine


def _be_console(path: Path) -> None:
    """This terminal and the machine's, until one of them ends."""
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(path))
        console.sendall(b"\n")
        before = termios.tcgetattr(0) if os.isatty(0) else None
        try:
            if before:
                tty.setraw(0)
            while True:
                ready, _, _ = select.select([0, console.fileno()], [], [])
                if console.fileno() in ready:
                    if not (piece := console.recv(1 << 16)):
                        return
                    os.write(1, piece)
                if 0 in ready:
                    piece = os.read(0, 1 << 12)
                    if not piece or LEAVE in piece:
                        return
                    console.sendall(piece)
        finally:
            if before:
                termios.tcsetattr(0, termios.TCSADRAIN, before)


if __name__ == "__main__":
    raise SystemExit(main())
