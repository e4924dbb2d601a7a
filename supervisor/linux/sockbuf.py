"""How much may wait in a socket."""

from __future__ import annotations

import socket

SO_RCVBUFFORCE = 33  # socket(7); the socket module does not name it


def set_receive_buffer(sock: socket.socket, size: int) -> None:
    """Bytes; without CAP_NET_ADMIN in the initial user namespace at most net.core.rmem_max of them."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
