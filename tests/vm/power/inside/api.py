"""Docker's API on the daemon's socket, for the programs that run inside a machine; standard library only."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect("/run/hawse/hawse.sock")


def call(method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Status and body.  Raises OSError when nobody answers."""
    connection = _Unix("hawse")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    connection.request(method, f"/v1.43{path}", data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, read


def get(path: str) -> Any:
    status, body = call("GET", path)
    assert status == 200, f"{path}: {status} {body[:200]!r}"
    return json.loads(body)
