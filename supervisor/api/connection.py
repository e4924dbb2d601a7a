"""One client connection: aiohttp's HTTP protocol, plus what Docker's needs and HTTP does not have.

Hijacking.  After the head of an attach or exec the connection stops being HTTP, and a client may send its first bytes
together with the request.  So the bytes of a request that can end in a hijack are counted here: exactly head and body go
to the HTTP parser, and everything after is held until the handler either takes the socket (with what was held) or answers
normally (then it is parsed as the next request).  Nothing the client sent is lost or misread, with or without an Upgrade
header.

Deadlines.  A head, and what may end in a hijack as a whole, has HEAD_DEADLINE seconds from the start of the connection, or
of the request: half a request for ever would be a descriptor for ever.

Refusing.  Whoever is neither root nor in the configured group gets a 403 before a byte of theirs is read.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from hawse.supervisor.linux.peer import Peer, credentials

HELD_LIMIT = 256 * 1024
"""Bytes held for a hijacker before the socket's own back-pressure takes over."""
HEAD_DEADLINE = 60.0
_HEAD_LIMIT = 64 * 1024
_BODY_LIMIT = 1 << 20
_HIJACKABLE = re.compile(rb"POST (?:http://[^/ ]*)?(?:/v[0-9.]+)?/(?:containers/[^/ ?]+/attach|exec/[^/ ?]+/start)[ ?]")
_POST = b"POST /"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_REFUSAL = b'{"message":"permission denied: only root and members of the configured group may use this socket"}'


class Connection(RequestHandler):
    """`allowed` decides by the peer's credentials; None lets everybody in (the socket's mode already does not)."""

    __slots__ = (
        "_allowed",
        "_collected",
        "_deadline",
        "_ended",
        "_fresh",
        "_held",
        "_lost",
        "_refused",
        "_taken",
        "peer",
    )

    def __init__(self, manager: web.Server, allowed: Callable[[Peer], bool] | None, **options: Any) -> None:
        super().__init__(manager, **options)
        self._allowed = allowed
        self._fresh = True  # between two requests: what comes next is the start of one
        self._collected = b""  # the start of a request that may become a hijack, until it is complete
        self._held: bytearray | None = None  # what came after it
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False  # the client will send no more
        self._taken = False
        self._refused = False
        self._lost: Callable[[], None] | None = None
        self.peer: Peer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = credentials(transport.get_extra_info("socket"))
        if self._allowed is not None and not self._allowed(self.peer):
            self._refused = True
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(
                b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
            )
            transport.close()
            return
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.heard()
        if not self._refused:
            super().connection_lost(exc)
        if self._lost is not None:
            self._lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        # A hijacker that has already said everything it has to say (printf … | nc) keeps its reading side.  Half a request
        # will never be a whole one.
        self._ended = True
        return True if self._held is not None else None

    def _expect(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(HEAD_DEADLINE, self.force_close)

    def heard(self) -> None:
        """The request is at its handler: what it takes from now on is the handler's affair."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not data:  # how aiohttp makes its parser go on after a pause
            super().data_received(data)
            return
        if self._held is not None:
            self._hold(data)
            return
        if not self._fresh:
            super().data_received(data)
            return
        if self._deadline is None:
            self._expect()
        self._collected += data
        size = self._request_size(self._collected)
        if size is None:
            return
        request, rest = self._collected[:size], self._collected[size:]
        self._collected, self._fresh = b"", False
        if size < 0:  # an ordinary request: all of it is HTTP's business
            super().data_received(request + rest)
            return
        self._held = bytearray()
        super().data_received(request)
        if rest:
            self._hold(rest)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self._taken:
            return resp, True  # the socket is somebody else's; True ends aiohttp's loop for this connection
        finished = await super().finish_response(request, resp, start_time)
        held, self._held = self._held, None
        if request.content.exception() is not None:
            self.force_close()  # a body that cannot be read has no end behind which the next request could begin
        self._fresh = request.content.at_eof()
        if held is not None:
            if len(held) >= HELD_LIMIT and self.transport is not None:
                self.transport.resume_reading()
            if held:
                self.data_received(bytes(held))
            elif self._ended:
                self.force_close()  # nobody would tell us that the other half is closed as well
        return finished

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Log no traceback, as aiohttp would, of what is nobody's mistake here: a client that left, or speaks no HTTP."""
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, HttpProcessingError):
            answer = web.json_response({"message": f"bad request: {exc.message}"}, status=status)
            answer.force_close()
            return answer
        return super().handle_error(request, status, exc, message)

    def close(self) -> None:
        """The server ends: a stream would otherwise go on for ever."""
        super().close()
        if self._lost is not None:
            self._lost()

    @contextmanager
    def until_lost(self) -> Iterator[None]:
        """The block is cancelled when the client goes away; leaving the block then is normal, by a failed write too."""
        with anyio.CancelScope() as scope:
            if self.transport is None or self.transport.is_closing():
                scope.cancel()
            self._lost = scope.cancel
            try:
                yield
            except ClientConnectionResetError:  # a write found out before the transport told us
                pass
            finally:
                self._lost = None

    def take(self) -> tuple[socket.socket, bytes]:
        """The client's socket (a duplicate, the caller's to close) and what it has sent since the request.

        Our own end is closed without a shutdown, so that the connection goes on with the duplicate.  Nothing of ours is
        unsent: the only request on this connection that may be answered is the one that is being taken over.
        """
        assert self.transport is not None
        self.transport.pause_reading()
        sock = self.transport.get_extra_info("socket").dup()
        held, self._held = bytes(self._held or b""), bytearray()
        self._taken = True
        self.force_close()
        return sock, held

    def _hold(self, data: bytes) -> None:
        assert self._held is not None
        before = len(self._held)
        self._held += data
        if before < HELD_LIMIT <= len(self._held) and self.transport is not None:
            self.transport.pause_reading()

    @staticmethod
    def _request_size(data: bytes) -> int | None:
        """Return how many bytes a request that may be hijacked has; None: not known yet; -1: it cannot be hijacked."""
        if not data.startswith(_POST[: len(data)]):
            return -1
        line_end = data.find(b"\r\n")
        if line_end < 0:
            return None if len(data) < _HEAD_LIMIT else -1
        if not _HIJACKABLE.match(data):
            return -1
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None if len(data) < _HEAD_LIMIT else -1
        head = data[: head_end + 2]
        length = _LENGTH.search(head)
        size = head_end + 4 + (int(length[1]) if length else 0)
        if _CHUNKED.search(head) or size > head_end + _BODY_LIMIT:
            return -1
        return size if len(data) >= size else None


class Api(web.Server):
    """aiohttp's low-level server with our connections: routing is our own table, so an application is not needed."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        allowed: Callable[[Peer], bool] | None = None,
    ) -> None:
        async def heard(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request.protocol, Connection)
            request.protocol.heard()
            return await handler(request)

        super().__init__(heard, access_log=None)
        self._allowed = allowed

    def __call__(self) -> Connection:
        return Connection(self, self._allowed, loop=self._loop, **self._kwargs)
