"""run, exec, start and attach in the foreground: streams, exit codes, signals, and a terminal that is given back."""

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
from pathlib import Path
from typing import Any

import pytest

from hawse.supervisor.api import wire
from tests.unit.cli.daemon import PROGRAM, CliDaemon, Request

ID = "c0ffee" + "0" * 58
Script = Callable[[Request, threading.Event], int]


class Program:
    """What the container does: `script` talks on the hijacked connection and returns the exit code."""

    def __init__(self, daemon: CliDaemon, script: Script, *, tty: bool = False, rm: bool = False) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.code = 0
        self._script = script
        self.start_error: tuple[int, str] | None = None
        self.order: list[str] = []
        daemon.routes |= {
            "POST /containers/create": {"Id": ID, "Warnings": []},
            f"POST /containers/({ID}|web)/attach": self._attach,
            f"POST /containers/({ID}|web)/wait": self._wait,
            f"POST /containers/({ID}|web)/start": self._start,
            f"POST /containers/({ID}|web)/kill": None,
            f"POST /containers/({ID}|web)/resize": None,
            "GET /containers/web/json": {
                "Id": ID,
                "Config": {"Tty": tty, "OpenStdin": True},
                "HostConfig": {"AutoRemove": rm},
                "State": {"Running": True, "Paused": False, "Restarting": False},
            },
        }

    def _attach(self, request: Request) -> None:
        self.order.append("attach")
        request.upgrade()
        if self.started.wait(60) and not self.start_error:
            self.code = self._script(request, self.started)
        self.ended.set()
        request.sock.close()

    def _wait(self, request: Request) -> None:
        self.order.append(f"wait {request.query['condition']}")
        request.begin()
        self.ended.wait(60)
        request.chunk(b'{"StatusCode":%d}\n' % self.code)
        request.sock.sendall(b"0\r\n\r\n")

    def _start(self, request: Request) -> None:
        self.order.append("start")
        if self.start_error:
            request.answer({"message": self.start_error[1]}, self.start_error[0])
            self.started.set()
            return
        request.answer(None, 204)
        self.started.set()


def say(request: Request, text: bytes, stream: int = wire.STDOUT) -> None:
    request.sock.sendall(wire.frame(stream, text))


def read_all(request: Request) -> bytes:
    data = b""
    while piece := request.sock.recv(65536):
        data += piece
    return data


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    yield made
    made.close()


def test_streams_stay_apart_and_the_exit_code_is_the_programs(daemon: CliDaemon) -> None:
    def script(request: Request, _: object) -> int:
        say(request, b"out\xff\x00")
        say(request, b"err\n", wire.STDERR)
        return 42

    program = Program(daemon, script)
    said = daemon.run("run", "busybox", "sh", "-c", "x")
    assert (said.code, said.raw, said.err) == (42, b"out\xff\x00", "err\n")
    assert program.order == ["attach", "wait next-exit", "start"], "nothing of a quick program is missed"


def test_rm_waits_until_it_is_removed(daemon: CliDaemon) -> None:
    program = Program(daemon, lambda *_: 0)
    assert daemon.run("run", "--rm", "busybox", "true").code == 0
    assert "wait removed" in program.order
    assert daemon.requests("POST /containers/create")[0].json["HostConfig"]["AutoRemove"] is True


def test_stdin_is_piped_and_its_end_reaches_the_program(daemon: CliDaemon) -> None:
    data = os.urandom(1_000_000)

    def script(request: Request, _: object) -> int:
        got = read_all(request)
        say(request, b"%d" % len(got) if got == data else b"changed")
        return 0

    Program(daemon, script)
    assert daemon.run("run", "-i", "busybox", "cat", input=data).out == "1000000"


def test_both_directions_at_once_do_not_lock_up(daemon: CliDaemon) -> None:
    data = os.urandom(3_000_000)

    def echo(request: Request, _: object) -> int:
        while piece := request.sock.recv(65536):
            say(request, piece)
        return 0

    Program(daemon, echo)
    assert daemon.run("run", "-i", "busybox", "cat", input=data).raw == data


def test_without_i_stdin_is_not_touched(daemon: CliDaemon) -> None:
    Program(daemon, lambda *_: 0)
    daemon.run("run", "busybox", "cat", input=b"not for you")
    assert "stdin" not in daemon.requests("POST .*/attach")[0].query


def test_a_program_that_takes_no_input_still_gets_its_output_out(daemon: CliDaemon) -> None:
    def script(request: Request, _: object) -> int:
        request.sock.shutdown(0)
        say(request, b"done")
        return 0

    Program(daemon, script)
    assert daemon.run("run", "-i", "busybox", "x", input=b"y" * 2_000_000).out == "done"


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (400, 'exec: "nope": executable file not found in $PATH: unknown', 127),
        (400, 'exec: "/x": stat /x: no such file or directory: unknown', 127),
        (400, 'exec: "/etc": is a directory: unknown', 126),
        (400, 'exec: "/x": permission denied: unknown', 126),
        (500, "driver failed: no such file or directory", 125),
        (409, "port is already allocated", 125),
    ],
)
def test_a_failed_start_has_dockers_exit_code(daemon: CliDaemon, status: int, text: str, code: int) -> None:
    program = Program(daemon, lambda *_: 0)
    program.start_error = (status, text)
    said = daemon.run("run", "--rm", "busybox", "x")
    assert said.code == code
    assert said.err.startswith(f"hawse: Error response from daemon: {text}\n")
    assert "Run 'hawse run --help' for more information" in said.err


def test_detached_prints_the_id(daemon: CliDaemon) -> None:
    program = Program(daemon, lambda *_: 0)
    said = daemon.run("run", "-d", "--name", "web", "busybox", "top")
    assert (said.code, said.out, said.err) == (0, f"{ID}\n", "")
    assert program.order == ["start"]
    assert daemon.requests("POST /containers/create")[0].query == {"name": "web"}


def test_signals_go_to_the_program(daemon: CliDaemon) -> None:
    killed: list[str] = []
    arrived = threading.Event()

    def script(request: Request, _: object) -> int:
        say(request, b"ready\n")
        assert arrived.wait(60)
        return 9

    Program(daemon, script)

    def kill(request: Request) -> None:
        killed.append(request.query["signal"])
        request.answer(None, 204)
        if len(killed) == 3:
            arrived.set()

    daemon.routes = {"POST .*/kill": kill, **daemon.routes}
    process = daemon.popen("run", "busybox", "x", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            process.send_signal(number)
            count = len(killed)
            deadline = time.monotonic() + 60
            while len(killed) == count and time.monotonic() < deadline:
                time.sleep(0.005)
    assert process.wait(60) == 9
    assert killed == ["SIGTERM", "SIGINT", "SIGUSR1"]


def test_signals_reach_a_program_that_closed_its_output(daemon: CliDaemon) -> None:
    killed, closed = threading.Event(), threading.Event()
    program = Program(daemon, lambda *_: 0)

    def attach(request: Request) -> None:
        request.upgrade()
        program.started.wait(60)
        request.sock.shutdown(1)
        read_all(request)
        closed.set()
        killed.wait(60)
        program.code = 5
        program.ended.set()

    def kill(request: Request) -> None:
        killed.set()
        request.answer(None, 204)

    daemon.routes = {"POST .*/attach": attach, "POST .*/kill": kill, **daemon.routes}
    process = daemon.popen("run", "busybox", "x")
    assert closed.wait(60), "the stream has ended, the program has not"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 5


def test_sig_proxy_off_ends_only_us(daemon: CliDaemon) -> None:
    go = threading.Event()

    def script(request: Request, _: object) -> int:
        say(request, b"ready\n")
        go.wait(60)
        return 0

    Program(daemon, script)
    process = daemon.popen("run", "--sig-proxy=false", "busybox", "x", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
    go.set()
    assert not daemon.requests("POST .*/kill")


def test_the_reader_of_our_output_goes_away(daemon: CliDaemon) -> None:
    closed = threading.Event()

    def script(request: Request, _: object) -> int:
        try:
            while True:
                say(request, b"y\n" * 1000)
        except OSError:
            closed.set()
        return 0

    Program(daemon, script)
    process = daemon.popen("run", "busybox", "yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141
    assert closed.wait(60)


def test_the_exit_code_survives_a_daemon_that_restarts(daemon: CliDaemon) -> None:
    """The streams go on without the daemon; its successor tells the exit code."""

    def script(request: Request, _: object) -> int:
        say(request, b"still here\n")
        return 7

    program = Program(daemon, script)

    def wait(request: Request) -> None:
        request.begin()
        if request.query["condition"] == "next-exit":
            program.started.wait(60)
            request.sock.shutdown(2)
            return
        program.ended.wait(60)
        request.chunk(b'{"StatusCode":7}')
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes = {"POST .*/wait": wait, **daemon.routes}
    said = daemon.run("run", "busybox", "x")
    assert (said.code, said.out) == (7, "still here\n")


def test_start_attached(daemon: CliDaemon) -> None:
    def script(request: Request, _: object) -> int:
        say(request, b"again\n")
        return 3

    Program(daemon, script)
    said = daemon.run("start", "-a", "web")
    assert (said.code, said.out) == (3, "again\n")


def test_attach(daemon: CliDaemon) -> None:
    def script(request: Request, _: object) -> int:
        got = read_all(request)
        say(request, got.upper())
        return 4

    program = Program(daemon, script)
    program.started.set()
    said = daemon.run("attach", "web", input=b"hello")
    assert (said.code, said.out) == (4, "HELLO")


def exec_routes(daemon: CliDaemon, talk: Callable[[Request], None], code: int | None) -> None:
    daemon.routes |= {
        "POST /containers/web/exec": {"Id": "e1"},
        "POST /exec/e1/start": talk,
        "GET /exec/e1/json": {"Running": False, "ExitCode": code},
        "POST /exec/e1/resize": None,
    }


def test_exec(daemon: CliDaemon) -> None:
    def talk(request: Request) -> None:
        request.upgrade()
        say(request, read_all(request) + b"!")
        request.sock.close()

    exec_routes(daemon, talk, 6)
    said = daemon.run("exec", "-i", "-e", "A=1", "-w", "/tmp", "-u", "app", "web", "cat", "-n", input=b"x")
    assert (said.code, said.out) == (6, "x!")
    body = daemon.requests("POST /containers/web/exec")[0].json
    assert (body["Cmd"], body["Env"], body["WorkingDir"], body["User"]) == (["cat", "-n"], ["A=1"], "/tmp", "app")


def test_exec_detached_says_nothing(daemon: CliDaemon) -> None:
    exec_routes(daemon, lambda r: r.answer(None), 0)
    assert daemon.run("exec", "-d", "web", "true").code == 0
    assert daemon.requests("POST /exec/e1/start")[0].json["Detach"] is True


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
