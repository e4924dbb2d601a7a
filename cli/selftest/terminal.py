"""A terminal with a program on it: what a person types and sees, with deadlines instead of patience."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawse.cli.selftest.waiting import PATIENCE
from hawse.cli.selftest.world import World

END = b"<<the program has ended>>"


class Terminal:
    """A pseudo-terminal whose slave is the program's stdin, stdout, stderr and controlling terminal."""

    def __init__(self, world: World, argv: Sequence[str | Path], env: Mapping[str, str] | None) -> None:
        self.fd, slave = os.openpty()
        self.seen = b""
        self.resize(24, 80, self.fd)
        self.slave = slave
        """Kept open: its settings are looked at after the program has ended."""
        self.untouched = self.settings()
        """The line discipline's settings before the program."""
        # setsid --ctty does not fork here: the child is no group leader, so the Popen is the program itself.
        self.process = world.popen(["setsid", "--ctty", *argv], env=env, stdin=slave, stdout=slave, stderr=slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in (self.fd, self.slave):
            os.close(fd)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait until `text` is seen; what came before and including it is consumed and given back."""
        return self._read_past(text.encode(), timeout).decode(errors="replace")

    def _read_past(self, wanted: bytes, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            if not select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{wanted!r} not seen within {timeout} s; the terminal shows {self.seen!r}")
            self.seen += os.read(self.fd, 65536)
        before, _, self.seen = self.seen.partition(wanted)
        return before + wanted

    def wait(self, timeout: float = PATIENCE) -> int:
        """The program's exit code; its remaining output is collected into `seen` meanwhile."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"still running after {timeout} s; the terminal shows {self.seen!r}")
            if select.select([self.fd], [], [], 0.02)[0]:
                self.seen += os.read(self.fd, 65536)
        # A worker of the kernel carries what is written over to this side: what is written last comes last.
        while select.select([self.fd], [], [], 0)[0]:
            self.seen += os.read(self.fd, 65536)
        os.write(self.slave, END)
        self.seen = self._read_past(END, timeout).removesuffix(END) + self.seen
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    def resize(self, rows: int, columns: int, fd: int | None = None) -> None:
        """Change the window's size; the kernel tells the foreground programs with SIGWINCH."""
        fcntl.ioctl(self.fd if fd is None else fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def settings(self) -> list[Any]:
        """The line discipline's settings, to see whether a program put them back."""
        return termios.tcgetattr(self.slave)
