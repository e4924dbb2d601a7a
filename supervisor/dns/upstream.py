"""Asking other name servers on a container's behalf: its own (--dns) or the host's, one after the other, with a deadline.

They are asked from the host's network, so a resolver on the host's loopback (systemd-resolved) is as good as any.
Messages are passed on as they are: what we do not understand is not ours to change.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio

from hawse.supervisor.runtime.etc_files import FALLBACK_NAMESERVERS

PORT = 53
ONE = 2.0  # seconds that one server gets
MOST_STRAY = 16  # datagrams that are no answer until a server is given up; it may be a container (--dns)
ALL = 4.5  # seconds for all of them: programs give up or ask again after five
_NOT_ANSWERED = (2, 5)  # SERVFAIL, REFUSED: the next one may know


class Upstream:
    def __init__(self, random: Callable[[int], int], resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._random = random
        self._path = resolv_conf
        self._read: tuple[int, tuple[str, ...]] = (-1, ())

    async def ask(self, wire: bytes, servers: Sequence[str], avoid: Sequence[str], *, datagram: bool) -> bytes | None:
        """The first good answer, else the last bad one, else None.  `avoid` are our own addresses."""
        answer = None
        with anyio.move_on_after(ALL):
            for server in servers or self._of_host():
                if server in avoid:
                    continue
                try:
                    with anyio.move_on_after(ONE):
                        answer = await (self._by_datagram if datagram else _by_stream)(server, wire)
                        if answer[3] & 15 not in _NOT_ANSWERED:
                            return answer
                except (OSError, EOFError):
                    continue
        return answer

    async def _by_datagram(self, server: str, wire: bytes) -> bytes:
        """With an id and a port of its own: nobody may guess what an answer must look like."""
        loop = asyncio.get_running_loop()
        own_id = self._random(16).to_bytes(2, "big")
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)) as sock:
            sock.connect((server, PORT))  # from here on only that server is heard
            await loop.sock_sendall(sock, own_id + wire[2:])
            for _ in range(MOST_STRAY):
                await anyio.wait_readable(sock)  # gives way to others each time, also when it is a flood
                answer = sock.recv(65_535)
                if len(answer) >= 12 and answer[:2] == own_id and answer[2] & 0x80:
                    return wire[:2] + answer[2:]
        raise OSError(errno.EPROTO, "what comes is no answer", server)

    def _of_host(self) -> tuple[str, ...]:
        """The host's own name servers, read again when the file has changed."""
        try:
            changed = os.stat(self._path).st_mtime_ns
            if changed != self._read[0]:
                words = [line.split() for line in self._path.read_text(errors="replace").splitlines()]
                self._read = changed, tuple(w[1] for w in words if len(w) > 1 and w[0] == "nameserver")
        except OSError:
            self._read = -1, ()
        return self._read[1] or FALLBACK_NAMESERVERS


async def _by_stream(server: str, wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, PORT)
    try:
        writer.write(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = await reader.readexactly(size)
        if size < 12:
            raise EOFError("shorter than a header")
        return answer
    finally:
        writer.close()
