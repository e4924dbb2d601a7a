"""HTTP/1.1 over the daemon's unix socket: requests, many at a time where a verb has many names, and hijacks.

Our own (with response.py) because http.client costs 15 ms to import (it parses headers with the email package), which is
as much as the rest of `hawse ps` together.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from hawse.cli.errors import ApiError, Disconnected, Failure, NoDaemon
from hawse.cli.wire.response import Response
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WIDTH = 32
"""How many requests of a verb with many names are outstanding at a time."""
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
PREFIX = f"/v{wire.API_VERSION}"


def quote(text: str, safe: bytes = b"") -> str:
    """Percent-encoding (urllib.parse is 2 ms of import)."""
    return "".join(chr(b) if b in _SAFE or b in safe else f"%{b:02X}" for b in text.encode(errors="surrogateescape"))


def query_string(query: Mapping[str, object]) -> str:
    """Make one of what is not None; booleans as 1 and 0, objects and lists as JSON (that is how `filters` travels)."""
    pairs = []
    for name, value in query.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = int(value)
        elif isinstance(value, dict | list):
            value = json.dumps(value)
        pairs.append(f"{quote(name)}={quote(str(value))}")
    return "&".join(pairs)


class _Sent:
    """A request whose answer is outstanding.  `again`: what to send once more if the connection was dead already."""

    def __init__(self, client: Client, sock: socket.socket, again: bytes | None, head_only: bool) -> None:
        self.sock = sock
        self._client, self._again, self._head_only = client, again, head_only

    def __call__(self) -> Response:
        try:
            return Response(self.sock, self._head_only, self._client.release)
        except Disconnected:
            self.sock.close()
            if self._again is None:
                raise
        except BaseException:
            self.sock.close()
            raise
        return self._client.send(self._again, self._head_only)()


class Client:
    """Requests to one daemon.  `on_absent` is called once when nothing answers; it starts the daemon or raises."""

    def __init__(self, path: str, on_absent: Callable[[], None] | None = None) -> None:
        self.path = path
        self._on_absent = on_absent
        self._idle: list[socket.socket] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is idle; an answer that is still read closes its own connection."""
        while self._idle:
            self._idle.pop().close()

    def get(self, path: str, **query: object) -> Any:
        return self.call("GET", path, query)

    def post(self, path: str, body: object = None, **query: object) -> Any:
        return self.call("POST", path, query, body)

    def delete(self, path: str, **query: object) -> Any:
        return self.call("DELETE", path, query)

    def call(self, method: str, path: str, query: Mapping[str, object], body: object = None) -> Any:
        """Return one JSON answer.  Raises ApiError for a status of 400 and above."""
        with self.open(method, path, query, body) as response:
            return response.json()

    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        content: Iterable[bytes] | None = None,
        content_type: str = wire.TAR,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return one answer whose body is read by the caller, who closes it.  Raises ApiError, NoDaemon."""
        extra = dict(headers or {})
        if content is not None:
            extra |= {"Content-Type": content_type, "Transfer-Encoding": "chunked"}
        data = _request(method, path, query, body, extra, chunked=content is not None)
        return _checked(self._exchange(data, content, method == "HEAD"))

    def together(self, requests: Iterable[tuple[str, str, Mapping[str, object]]]) -> Iterator[Any]:
        """Many independent requests, up to WIDTH at a time; their JSON answers, or ApiErrors, in the order of asking."""
        waiting: list[_Sent] = []
        for method, path, query in requests:
            if len(waiting) >= WIDTH:
                yield _outcome(waiting.pop(0))
            waiting.append(self.send(_request(method, path, query, None, {}), head_only=False))
        for sent in waiting:
            yield _outcome(sent)

    def hijack(self, path: str, query: Mapping[str, object], body: object = None) -> Response:
        """A connection that stops being HTTP: `response.sock` is the caller's, after what `response.buffer` holds."""
        response = self.open("POST", path, query, body, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
        if response.status not in (101, 200):
            raise Failure(f"unable to upgrade to tcp, received {response.status}")
        return response

    def _exchange(self, data: bytes, content: Iterable[bytes] | None, head_only: bool) -> Response:
        finish = self.send(data, head_only, resend=content is None)
        whole = content is None or self._upload(finish.sock, content)
        response = finish()
        response.reusable = response.reusable and whole
        return response

    def send(self, data: bytes, head_only: bool, *, resend: bool = True) -> _Sent:
        """Send a request; calling the result waits for the answer."""
        while self._idle:
            sock = self._idle.pop()
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                sock.close()  # closed while idle, by a daemon that restarted: nothing was done
                continue
            return _Sent(self, sock, data if resend else None, head_only)
        sock = self._connect()
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was read; the reason is in the answer
        return _Sent(self, sock, None, head_only)

    def _upload(self, sock: socket.socket, content: Iterable[bytes]) -> bool:
        """False: the daemon answered before it had everything; what it says is the error."""
        try:
            for piece in content:
                if piece:
                    sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def release(self, response: Response) -> None:
        """The whole answer was read: the connection can carry the next request, or is of no more use."""
        if response.reusable:
            self._idle.append(response.sock)
        else:
            response.sock.close()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            sock.close()
            on_absent, self._on_absent = self._on_absent, None
            if on_absent is None:
                raise absent(self.path) from None
            on_absent()
            return self._connect()
        except PermissionError:
            raise NoDaemon(
                f"permission denied while trying to connect to the hawse daemon socket at unix://{self.path}\n"
                "Only root and members of the configured group may; try sudo."
            ) from None
        except OSError as e:
            raise NoDaemon(f"cannot connect to the hawse daemon at unix://{self.path}: {e.strerror or e}") from None
        return sock


def absent(path: str) -> NoDaemon:
    return NoDaemon(
        f"no hawse daemon answers on unix://{path}. Is it running?\n"
        "Start one with 'hawse daemon' (root), or name its socket with --host or HAWSE_HOST."
    )


def _request(
    method: str,
    path: str,
    query: Mapping[str, object] | None,
    body: object,
    headers: dict[str, str],
    *,
    chunked: bool = False,
) -> bytes:
    data = b""
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = wire.JSON
    if not chunked and (data or method in ("POST", "PUT")):
        headers["Content-Length"] = str(len(data))
    target = path if path.startswith((wire.NATIVE, "/_ping")) else PREFIX + path
    if query and (text := query_string(query)):
        target += f"?{text}"
    lines = [f"{method} {target} HTTP/1.1", "Host: hawse", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + data


def _checked(response: Response) -> Response:
    if response.status >= 400:
        with response:
            raise ApiError(response.status, _message(response))
    return response


def _outcome(sent: _Sent) -> Any:
    try:
        with _checked(sent()) as response:
            return response.json()
    except ApiError as e:
        return e


def _message(response: Response) -> str:
    text = response.body()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace").strip() or f"status {response.status} without a message"
