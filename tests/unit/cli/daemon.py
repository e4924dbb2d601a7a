"""A daemon for the command line's tests: real HTTP on a real unix socket, with answers that the test writes down."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PROGRAM = [sys.executable, "-c", "from hawse.cli.main import main; main()"]


@dataclass
class Request:
    """One request as it came, without the version in front of its path."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    sock: socket.socket

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def answer(self, value: object = None, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        lines = [f"HTTP/1.1 {status} X", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        self.sock.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    def begin(self, status: int = 200, **headers: str) -> None:
        """The head of a chunked answer."""
        lines = [f"HTTP/1.1 {status} X", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        self.sock.sendall("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        self.sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def upgrade(self) -> None:
        self.sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")


Handler = Callable[[Request], None]


@dataclass
class Said:
    code: int
    out: str
    err: str
    raw: bytes = field(repr=False, default=b"")


class CliDaemon:
    """`routes` maps "METHOD /path/regex" to what answers it: a value (JSON), or a function that has the request."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "hawse.sock"
        self.routes: dict[str, Any] = {}
        self.seen: list[Request] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._connections: list[socket.socket] = []
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def requests(self, pattern: str) -> list[Request]:
        """Those seen whose "METHOD /path" matches."""
        return [r for r in self.seen if re.fullmatch(pattern, f"{r.method} {r.path}")]

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HAWSE_")}
        return kept | {"HAWSE_HOST": f"unix://{self.path}", "HAWSE_AUTOSTART": "0", "COLUMNS": "80"}

    def run(self, *argv: str, input: bytes = b"", env: Mapping[str, str] | None = None, timeout: float = 100) -> Said:
        """One `hawse` command line, as a shell would run it."""
        done = subprocess.run(
            [*PROGRAM, *argv],
            input=input,
            capture_output=True,
            env=self.environment | dict(env or {}),
            timeout=timeout,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(), done.stdout)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*PROGRAM, *argv], env=self.environment, **options)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := _read(connection):
                self.seen.append(request)
                if not self._route(request):
                    return
        except OSError:
            return  # the client has gone

    def _route(self, request: Request) -> bool:
        for pattern, reply in self.routes.items():
            if re.fullmatch(pattern, f"{request.method} {request.path}"):
                if callable(reply):
                    reply(request)
                    return not request.headers.get("upgrade")
                request.answer(reply)
                return True
        request.answer({"message": f"No such thing: {request.path}"}, 404)
        return True


def _read(connection: socket.socket) -> Request | None:
    # Unbuffered: what follows the request belongs to a hijack.
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return None
        head += byte
    lines = head.decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = _read_chunks(connection)
    else:
        body = _exactly(connection, int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    path = re.sub(r"^/v1\.\d+(?=/)", "", parts.path)
    return Request(method, unquote(path), dict(parse_qsl(parts.query)), headers, body, connection)


def _read_chunks(connection: socket.socket) -> bytes:
    body = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += _exactly(connection, 1)
        size = int(line, 16)
        body += _exactly(connection, size)
        _exactly(connection, 2)
        if not size:
            return body


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("cut short")
        data += piece
    return data
