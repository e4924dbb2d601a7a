"""run, exec, start and attach in the foreground: streams, exit codes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

from hawse.supervisor.api import wire
from tests.unit.cli.daemon import CliDaemon, Request
from tests.unit.cli.program import ID, Program, daemon, exec_routes, read_all, say

__all__ = ["daemon"]  # a fixture


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
