"""run and exec on a terminal: raw while they last, told its size, and given back whatever happens."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.cli.daemon import PROGRAM, CliDaemon, Request
from tests.unit.cli.program import Program, daemon, exec_routes

__all__ = ["daemon"]  # a fixture


class Terminal:
    """A pseudo-terminal with `hawse` on it."""

    def __init__(self, daemon: CliDaemon, *argv: str) -> None:
        self.fd, self.slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [*PROGRAM, *argv],
            env=daemon.environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.fd, 4096)
        self.seen = self.seen.partition(text)[2]

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def terminal(daemon: CliDaemon) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(*argv: str) -> Terminal:
        made.append(Terminal(daemon, *argv))
        return made[-1]

    yield make
    for one in made:
        one.close()


def prompt(request: Request, _: object) -> int:
    """Shows a prompt, then says what is typed until q; the exit code is 5."""
    request.sock.sendall(b"$ ")
    while (typed := request.sock.recv(100)) and typed != b"q":
        request.sock.sendall(b"<%b>" % typed)
    return 5


def test_a_terminal_is_raw_while_it_runs_and_as_before_after(
    daemon: CliDaemon, terminal: Callable[..., Terminal]
) -> None:
    Program(daemon, prompt)
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"$ ")
    assert not shown.settings()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    os.write(shown.fd, b"\x03")
    shown.expect(b"<\x03>")
    os.write(shown.fd, b"q")
    assert shown.process.wait(60) == 5
    assert shown.settings() == shown.before
    assert not daemon.requests("POST .*/kill"), "ctrl-c is a byte for the program, no signal for us"


def test_the_size_is_told_at_first_and_when_it_changes(daemon: CliDaemon, terminal: Callable[..., Terminal]) -> None:
    sizes: list[tuple[str, str]] = []
    grown = threading.Event()

    def resize(request: Request) -> None:
        sizes.append((request.query["h"], request.query["w"]))
        request.answer(None)
        if sizes[-1] == ("50", "132"):
            grown.set()

    Program(daemon, prompt)
    daemon.routes = {"POST .*/resize": resize, **daemon.routes}
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"$ ")
    shown.resize(50, 132)
    assert grown.wait(60)
    assert sizes[0] == ("24", "80")
    os.write(shown.fd, b"q")
    assert shown.process.wait(60) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_ends_us_gives_the_terminal_back(
    daemon: CliDaemon, terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    Program(daemon, prompt)
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"$ ")
    shown.process.send_signal(number)
    assert shown.process.wait(60) == -number
    assert shown.settings() == shown.before


def test_a_failed_start_gives_the_terminal_back(daemon: CliDaemon, terminal: Callable[..., Terminal]) -> None:
    program = Program(daemon, prompt)
    program.start_error = (500, "no luck")
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"no luck\r\n")
    assert shown.process.wait(60) == 125
    assert shown.settings() == shown.before


def test_a_stopped_client_gives_the_terminal_back_until_it_goes_on(
    daemon: CliDaemon, terminal: Callable[..., Terminal]
) -> None:
    Program(daemon, prompt)
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"$ ")
    shown.process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, shown.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert shown.settings() == shown.before
    shown.process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while shown.settings() == shown.before and time.monotonic() < deadline:
        time.sleep(0.005)
    os.write(shown.fd, b"a")
    shown.expect(b"<a>")
    os.write(shown.fd, b"q")
    assert shown.process.wait(60) == 5


def test_detach_keys_leave_it_running(daemon: CliDaemon, terminal: Callable[..., Terminal]) -> None:
    Program(daemon, prompt)
    shown = terminal("run", "-it", "busybox", "sh")
    shown.expect(b"$ ")
    os.write(shown.fd, b"\x10")
    os.write(shown.fd, b"\x11")
    assert shown.process.wait(60) == 0
    assert shown.settings() == shown.before


def test_exec_on_a_terminal(daemon: CliDaemon, terminal: Callable[..., Terminal]) -> None:
    def talk(request: Request) -> None:
        request.upgrade()
        prompt(request, None)
        request.sock.close()

    exec_routes(daemon, talk, 5)
    shown = terminal("exec", "-it", "web", "sh")
    shown.expect(b"$ ")
    assert daemon.requests("POST /exec/e1/start")[0].json["ConsoleSize"] == [24, 80]
    os.write(shown.fd, b"q")
    assert shown.process.wait(60) == 5
    assert shown.settings() == shown.before


@pytest.mark.parametrize("argv", [("run", "-it", "busybox", "sh"), ("exec", "-it", "web", "sh")])
def test_a_terminal_is_asked_for_where_there_is_none(daemon: CliDaemon, argv: tuple[str, ...]) -> None:
    said = daemon.run(*argv)
    assert (said.code, said.err) == (1, "hawse: the input device is not a TTY\n")
    assert not daemon.seen
