"""`script/vm`: hawse's tests in a real machine, or a shell in one."""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
import tempfile
import termios
import tty
from pathlib import Path

from tests.vm import wheels
from tests.vm.image import SUITES, image
from tests.vm.install import install
from tests.vm.machine import Machine
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
    for verb in (test, shell, inside):
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
    return run_shell(options.suite)


def run_tests(suite: str, arguments: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "--privileged", "--machines", "whole", "--suite", suite, "-v"]
    return subprocess.run([*pytest, *arguments, "tests/machine"], check=False).returncode


def run_shell(suite: str) -> int:
    with tempfile.TemporaryDirectory(prefix="hawse-vm-") as scratch:
        sys.stderr.write("booting …\n")
        with Machine(image(suite), Path(scratch) / suite) as machine:
            sys.stderr.write("installing hawse …\n")
            wheels.put(suite, machine.share / "wheels")
            install(machine)
            sys.stderr.write(f"{machine.share} is /share inside; `poweroff` or Ctrl-] ends the machine\n")
            _be_console(machine.directory / "console")
    return 0


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
