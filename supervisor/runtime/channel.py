"""One end of a control connection, for the event loop: requests with answers, events as they come.

The daemon's end of the sockets that protocol.py describes.  No threads: a non-blocking SEQPACKET socket and
`loop.add_reader`.  Knows the envelope ("rid", "ev": "error", descriptors) and no message in particular.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from hawse.supervisor.core.errors import KernelError, Unavailable, UserError
from hawse.supervisor.shim import protocol

Message = dict[str, Any]

ANSWER_TIMEOUT = 10.0
"""Seconds that a peer has for an answer that needs no work worth mentioning."""

BATCH = 32
"""Messages read in one turn of the event loop, so that one talkative peer does not keep the others waiting."""


class Descriptors:
    """File descriptors that came with a message.  What nobody takes is closed."""

    def __init__(self, fds: Sequence[int] = ()) -> None:
        self._fds = list(fds)

    def take(self) -> int | None:
        """The next one, now the caller's; None when there are no more."""
        return self._fds.pop(0) if self._fds else None

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


class Channel:
    """Owns the socket.  `on_event` gets every message that no request waits for; `on_lost` is called once, at the end."""

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        on_event: Callable[[Message, Descriptors], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.peer = peer
        self._sock = sock
        self._on_event, self._on_lost = on_event, on_lost
        self._rids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[Message, Descriptors]]] = {}
        self._sending = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._open = True
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    async def post(self, message: Message, fds: tuple[int, ...] = ()) -> int:
        """Send a message whose answers, if any, are events; returns the rid it was given.

        The descriptors stay the caller's.  Raises Unavailable when the peer is gone or does not read.
        """
        rid = next(self._rids)
        await self._send({**message, "rid": rid}, fds)
        return rid

    async def request(
        self, message: Message, fds: tuple[int, ...] = (), timeout: float = ANSWER_TIMEOUT
    ) -> tuple[Message, Descriptors]:
        """Send and wait for the answer.  What is left of the returned descriptors is the caller's to close.

        Raises KernelError for an "error" answer, Unavailable when the peer is gone or silent for `timeout` seconds.
        """
        rid = next(self._rids)
        future: asyncio.Future[tuple[Message, Descriptors]] = self._loop.create_future()
        self._waiting[rid] = future
        try:
            async with asyncio.timeout(timeout):
                await self._send({**message, "rid": rid}, fds)
                answer, received = await future
        except BaseException as e:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result()[1].close()  # cancelled in the moment between the answer and its taking
            if isinstance(e, TimeoutError):
                raise Unavailable(f"{self.peer} did not answer {message['op']!r} within {timeout:g} s") from e
            raise
        finally:
            del self._waiting[rid]
        if answer.get("ev") == "error":
            received.close()
            raise failure(message["op"], answer)
        return answer, received

    def close(self) -> None:
        """Let go of the socket; everybody who waits is told that the peer is gone.  Safe to call twice."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        if self._room is not None:
            _fulfil(self._room)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable(f"{self.peer} is gone"))
        self._on_lost()

    async def _send(self, message: Message, fds: tuple[int, ...]) -> None:
        async with self._sending:
            while True:
                if not self._open:
                    raise Unavailable(f"{self.peer} is gone")
                try:
                    return protocol.send(self._sock, message, fds)
                except BlockingIOError:
                    await self._writable()
                except ValueError as e:
                    raise UserError(f"{message['op']} is too big: {e}") from e
                except OSError as e:
                    raise Unavailable(f"{self.peer} is gone: {e.strerror}") from e

    async def _writable(self) -> None:
        """Wait until the peer has read something, or the channel was closed."""
        self._room = self._loop.create_future()
        self._loop.add_writer(self._sock, _fulfil, self._room)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._room
        except TimeoutError as e:
            raise Unavailable(f"{self.peer} does not read its messages") from e
        finally:
            self._room = None
            if self._open:
                self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        for _ in range(BATCH):
            if not self._open:
                return
            try:
                message, fds = protocol.receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with something of ours unread, which is told once; its own last words come after
            except (EOFError, OSError, ValueError):
                # ValueError: not our protocol.  A peer that talks nonsense is as good as gone.
                self.close()
                return
            self._dispatch(message, Descriptors(fds))

    def _dispatch(self, message: Message, received: Descriptors) -> None:
        future = self._waiting.get(message.get("rid") or 0)
        if future is not None and not future.done():
            future.set_result((message, received))
            return
        try:
            self._on_event(message, received)
        finally:
            received.close()


def _fulfil(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def failure(op: str, answer: Message) -> KernelError:
    """The error in an answer or event, with the peer's own words where it has some."""
    error = KernelError(op, int(answer.get("errno") or 0))
    if answer.get("message"):
        error.message = f"{op}: {answer['message']}"
    return error
