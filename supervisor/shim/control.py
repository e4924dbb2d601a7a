"""The shim's control connections: the one it was born with, and those of daemons that come later.  Stdlib only.

A daemon that does not read its messages is dropped, never waited for; it may connect again and ask for the state.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from hawse.supervisor.shim import protocol
from hawse.supervisor.shim.loop import READ, Loop
from hawse.supervisor.shim.protocol import Socket

Message = dict[str, Any]

# plain integers: see protocol.py on the memory of a shim
_AF_UNIX, _SOCK_SEQPACKET = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET)
_SOCK_CLOEXEC, _SOCK_NONBLOCK = int(socket.SOCK_CLOEXEC), int(socket.SOCK_NONBLOCK)


class Connection:
    """One daemon."""

    def __init__(self, sock: Socket) -> None:
        self.socket = sock
        self.is_open = True

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Never blocks, never fails: a peer that cannot take it is shut down, and found at its end by the loop."""
        if not self.is_open:
            return
        try:
            protocol.send(self.socket, message, fds)
        except OSError:
            self.is_open = False
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Control:
    """All of them.  `on_message` gets what they say, with descriptors that it owns; `on_alone`: the last one has gone."""

    def __init__(
        self, loop: Loop, on_message: Callable[[Connection, Message, list[int]], None], on_alone: Callable[[], None]
    ) -> None:
        self._loop, self._on_message, self._on_alone = loop, on_message, on_alone
        self._connections: list[Connection] = []
        self._listener: Socket | None = None
        self._path = ""

    @property
    def is_alone(self) -> bool:
        return not self._connections

    def listen(self, path: str) -> None:
        """Through the directory's descriptor: the path itself may be longer than a socket address can be."""
        directory, _, name = path.rpartition("/")
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = Socket(_AF_UNIX, _SOCK_SEQPACKET | _SOCK_CLOEXEC | _SOCK_NONBLOCK, 0)
        mask = os.umask(0o177)
        try:
            if os.access(path, os.F_OK, follow_symlinks=False):
                os.unlink(path)
            listener.bind(f"/proc/self/fd/{place}/{name}")
        finally:
            os.umask(mask)
            os.close(place)
        listener.listen(4)
        self._listener, self._path = listener, path
        self._loop.watch(listener.fileno(), READ, self._accept)

    def add(self, sock: Socket, greeting: Message) -> None:
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.append(connection)
        connection.send(greeting)
        self._loop.watch(sock.fileno(), READ, partial(self._receive, connection))

    def tell(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        for connection in self._connections:
            connection.send(message, fds)

    def close(self) -> None:
        """The socket file goes too: nobody shall wait at a door behind which nobody is."""
        if self._listener is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            self._listener.close()

    def _accept(self, _events: int) -> None:
        assert self._listener is not None
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = Socket(fileno=fd)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.getuid():
            sock.close()
            return
        self.add(sock, {"ev": "hello", "version": protocol.VERSION})

    def _receive(self, connection: Connection, _events: int) -> None:
        try:
            message, fds = protocol.receive(connection.socket)
        except (BlockingIOError, ConnectionResetError):
            return  # a reset is told once; what was sent before it is still there
        except (EOFError, OSError, ValueError):
            connection.is_open = False
            self._loop.forget(connection.socket.fileno())
            connection.socket.close()
            self._connections.remove(connection)
            if not self._connections:
                self._on_alone()
            return
        self._on_message(connection, message, fds)
