"""Port 53 of this process: name servers on gateways, beside a container's `-p 53:53`, which is every address of the host.

The kernel refuses both together, unless all that share a port say SO_REUSEPORT; so they say it for the moment in which one
more of them is bound, and may begin to listen, and not a moment longer.  (For TCP the kernel remembers it: a program of
root's that asks for SO_REUSEPORT may have port 53 by TCP as well.  By UDP, which every name server needs, nobody may.)
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

NAMES_PORT = 53


class SharedPort:
    """Those of our sockets that may be bound to one port beside each other.  For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bound: dict[int, WeakSet[socket.socket]] = {socket.SOCK_STREAM: WeakSet(), socket.SOCK_DGRAM: WeakSet()}

    @contextmanager
    def bound(self, sock: socket.socket, address: str, port: int) -> Iterator[None]:
        """Bind it; in the block it may listen.  Raises OSError when anybody but us has the port."""
        with self._lock:
            beside = self._bound[sock.type]
            together = [sock, *(other for other in beside if other.fileno() >= 0)]
            try:
                for each in together:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind((address, port))
                yield
            finally:
                for each in together:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            beside.add(sock)
