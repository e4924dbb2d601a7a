"""Lines for systemd's journal with fields of their own, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Not by libsystemd's Python binding, which has no wheels: it would want a compiler on every machine.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

PATH = "/run/systemd/journal/socket"
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def is_stderr(environ: Mapping[str, str]) -> bool:
    """The journal reads our standard error (systemd.exec(5), JOURNAL_STREAM): what we write there ends up in it."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encode(fields: Mapping[str, str]) -> bytes:
    """Names as journald takes them: upper case, digits, underscores, at most 64, not beginning with one of the latter two."""
    out = b""
    for name, value in fields.items():
        allowed = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper()).lstrip("_0123456789")[:64]
        data = value.encode(errors="surrogateescape")
        if allowed and b"\n" in data:
            out += b"%b\n%b%b\n" % (allowed.encode(), len(data).to_bytes(8, "little"), data)
        elif allowed:
            out += b"%b=%b\n" % (allowed.encode(), data)
    return out


class Journal:
    """Waits `patience` seconds for room and no longer: journald may stand still, and who logs must not."""

    def __init__(self, path: str = PATH, *, patience: float = 0.0) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        if patience:
            wait = struct.pack("ll", int(patience), int(patience % 1 * 1e6))  # socket(7), SO_SNDTIMEO: a timeval
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        else:
            self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def send(self, entry: bytes) -> None:
        """Raises OSError when journald does not take it now."""
        try:
            self._socket.sendto(entry, self._path)
        except OSError as e:
            if e.errno != errno.EMSGSIZE:
                raise
            self._send_file(entry)

    def _send_file(self, entry: bytes) -> None:
        """Send what is too large for a datagram in a sealed memory file."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(entry)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            rights = array.array("i", [fd])
            self._socket.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], 0, self._path)
        finally:
            os.close(fd)
