"""One HTTP answer, read as it comes: Content-Length, chunked, until-close, 1xx, and 101 for a hijack."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

from hawse.cli.errors import Disconnected, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEAD_LIMIT = 64 * 1024


class Response:
    """One answer; the body is read as it comes."""

    def __init__(self, sock: socket.socket, head_only: bool, on_end: Callable[[Response], None]) -> None:
        self.sock = sock
        self.buffer = bytearray()  # read from the socket, not yet consumed
        self._on_end = on_end
        self._ended = False
        self.status, self.headers = self._head()
        while 100 <= self.status < 200 and self.status != 101:
            self.status, self.headers = self._head()
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length")
        # what is left of the body, or of the current chunk; None: until the connection closes
        self._left = 0 if self._chunked else int(length) if length is not None else None
        bodiless = head_only or self.status in (204, 304) or (self._left == 0 and not self._chunked)
        self.reusable = (
            self.status != 101
            and (bodiless or self._left is not None)
            and self.headers.get("connection", "").lower() != "close"
        )
        if bodiless and self.status != 101:
            self._end()

    def __iter__(self) -> Iterator[bytes]:
        """The body, in the pieces it arrives in.  Raises Disconnected when it is cut short."""
        while piece := self.read():
            yield piece

    def read(self) -> bytes:
        """The next piece of the body, at least one byte; b"" is the end."""
        if self._ended:
            return b""
        if self._chunked and self._left == 0:
            self._left = int(self._line().partition(b";")[0], 16)
            if self._left == 0:
                while self._line():
                    pass  # trailers
                self._end()
                return b""
        if not self.buffer and not self._fill():
            if self._left is not None:
                raise Disconnected("the daemon closed the connection in the middle of an answer")
            self._end()
            return b""
        piece = bytes(self.buffer if self._left is None else self.buffer[: self._left])
        del self.buffer[: len(piece)]
        if self._left is not None:
            self._left -= len(piece)
            if self._left == 0:
                if self._chunked:
                    self._line()
                else:
                    self._end()
        return piece

    def lines(self) -> Iterator[bytes]:
        """The body by lines, without their ends; blank ones are left out."""
        rest = b""
        for piece in self:
            *lines, rest = (rest + piece).split(b"\n")
            yield from (line for line in lines if line.strip())
        if rest.strip():
            yield rest

    def body(self) -> bytes:
        return b"".join(self)

    def json(self) -> Any:
        """The body as JSON; None when there is none."""
        text = self.body()
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise Failure(f"the daemon's answer is not JSON: {text[:200]!r}") from None

    def close(self) -> None:
        self.reusable = False
        self._end()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self)

    def _fill(self) -> bool:
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > _HEAD_LIMIT:
                raise Failure("the daemon's answer is not HTTP (a line that does not end)")
            if not self._fill():
                raise Disconnected("the daemon closed the connection in the middle of an answer")
        line = bytes(self.buffer[:end]).rstrip(b"\r")
        del self.buffer[: end + 1]
        return line

    def _head(self) -> tuple[int, dict[str, str]]:
        parts = self._line().split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise Failure(f"what answers on the socket is not a hawse daemon: {b' '.join(parts)[:80]!r}")
        headers = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        return int(parts[1]), headers
