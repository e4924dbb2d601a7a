"""A container's program as the command line sees it: a daemon's routes, and a script that talks on the hijacked one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawse.supervisor.api import wire
from tests.unit.cli.daemon import CliDaemon, Request

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


def exec_routes(daemon: CliDaemon, talk: Callable[[Request], None], code: int | None) -> None:
    daemon.routes |= {
        "POST /containers/web/exec": {"Id": "e1"},
        "POST /exec/e1/start": talk,
        "GET /exec/e1/json": {"Running": False, "ExitCode": code},
        "POST /exec/e1/resize": None,
    }
