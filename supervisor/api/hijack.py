"""Handing a client's connection over: the answer's head is sent, then the socket belongs to whoever serves the stream.

From then on bytes flow between client and shim without the daemon, also when the daemon dies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import HEADERS, Call
from hawse.supervisor.linux import peer

HEARING = 2.0
"""Seconds that a client gets to read the answer's head; one that writes all it has first does not read it sooner."""


@dataclass(frozen=True, slots=True)
class Client:
    """The taken socket.  `prefix` is what the client sent right behind its request."""

    sock: socket.socket
    prefix: bytes
    framed: bool

    @property
    def fd(self) -> int:
        return self.sock.fileno()

    async def heard(self) -> None:
        """Return when the client has read the answer's head, after a while in any case.

        To be awaited before anything is sent behind it: docker-py reads the head through a buffer and the stream past it, so
        that what comes in together with the head is lost (`_get_raw_response_socket`; a busy machine is enough).
        """
        pause = 0.0001
        with anyio.move_on_after(HEARING):
            while peer.unread(self.sock):
                await anyio.sleep(pause)
                pause = min(2 * pause, 0.01)

    async def tell(self, text: str) -> None:
        """A last word to a client whose HTTP is over, on its stderr."""
        line = f"{text}\r\n".encode()
        try:
            await self.send(wire.frame(wire.STDERR, line) if self.framed else line)
        except ConnectionError:
            return  # it did not stay to hear it

    async def send(self, data: bytes) -> None:
        """Waits while the client reads slowly.  Raises ConnectionError when it is gone."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)


@asynccontextmanager
async def taken(call: Call, *, tty: bool) -> AsyncIterator[Client]:
    """Answer 101 (200 to a client that did not ask for an upgrade) and take the socket.

    Within the block the socket is ours; leaving it closes our copy, and copies that were handed on stay open.
    """
    upgrade = "upgrade" in call.request.headers.get("Connection", "").lower()
    lines = ["HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK"]
    lines.append(f"Content-Type: {call.stream_type(upgrade and not tty)}")
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    sock, prefix = call.connection.take()
    with sock:
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        except ConnectionError:
            pass  # whoever serves the stream finds it closed
        yield Client(sock, prefix, framed=not tty)
