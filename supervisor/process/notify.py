"""sd_notify(3) without libsystemd: one datagram to the socket that systemd named."""

from __future__ import annotations

import os
import socket
import time


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1 (half of what systemd grants, sd_watchdog_enabled(3)); None when it does not ask."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000


def notify_reloading() -> None:
    """READY=1 is to follow.  The time tells Type=notify-reload of systemd 253 which request this answers (sd_notify(3))."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


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
