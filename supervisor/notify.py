"""sd_notify(3) without libsystemd: one datagram to the socket that systemd named."""

from __future__ import annotations

import os
import socket


def notify(message: str) -> None:
    """Tell the service manager, if there is one.  A manager that does not listen is not our problem."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(message.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
        except OSError:
            pass
