"""Pseudo-terminals and detach keys.  Stdlib only: the child side imports it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from hawse.supervisor.linux import rooted
from hawse.supervisor.linux.syscalls import RESOLVE_NO_SYMLINKS

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
PTMX = os.makedev(5, 2)
DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL_SIGNS = "@[\\]^_"


def open_terminal(root: int) -> tuple[int, int]:
    """A new (master, slave) of the devpts that is mounted at /dev/pts of a root.

    A container's root may have put anything in that place, so it is checked, and the slave is reached through the master,
    never by name (CVE-2025-52565).
    """
    master = rooted.open_path(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, RESOLVE_NO_SYMLINKS)
    status = os.fstat(master)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != PTMX:
        os.close(master)
        raise OSError(errno.ENODEV, "/dev/pts/ptmx is not a terminal multiplexer")
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def resize(master: int, rows: int, cols: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def become_controlling(slave: int) -> None:
    """The caller is a session leader without a terminal."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def parse_keys(text: str) -> bytes:
    """Docker's notation: single characters and ctrl-<a-z@[\\]^_>, separated by commas.  Raises ValueError."""
    keys = bytearray()
    for word in text.split(",") if text else []:
        name = word.lower()
        if len(word) == 1 and word.isascii():
            keys += word.encode()
        elif name.startswith("ctrl-") and len(name) == 6 and "a" <= name[5] <= "z":
            keys.append(ord(name[5]) - ord("a") + 1)
        elif name.startswith("ctrl-") and len(name) == 6 and name[5] in _CONTROL_SIGNS:
            keys.append(0 if name[5] == "@" else 27 + _CONTROL_SIGNS.index(name[5]) - 1)
        else:
            raise ValueError(f"unknown key in the detach sequence: {word!r}")
    return bytes(keys)


class DetachScanner:
    """Looks for the detach keys in a stream of input.  A beginning of them is held back until it is clear what it was."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what the program shall see, whether the sequence is complete); what follows a complete one is dropped."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            held = self._keys[: self._seen] + bytes((byte,))
            while not self._keys.startswith(held):
                out.append(held[0])
                held = held[1:]
            self._seen = len(held)
            if held == self._keys:
                self._seen = 0
                return bytes(out), True
        return bytes(out), False
