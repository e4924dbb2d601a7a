"""Who is at the other end of a socket, as the kernel recorded it when the peer connected, and what it has not read yet."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from dataclasses import dataclass

_UCRED = struct.Struct("iII")
_GID = struct.Struct("I")
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it.  Linux 4.13
_MANY_GROUPS = 65_536  # NGROUPS_MAX


@dataclass(frozen=True, slots=True)
class Peer:
    pid: int
    uid: int
    gids: frozenset[int]  # effective and supplementary


def credentials(sock: socket.socket) -> Peer:
    """Return those of a unix socket's peer, at connect time (unix(7)): what it does to itself afterwards changes nothing."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, frozenset((gid, *_supplementary(sock))))


def _supplementary(sock: socket.socket) -> tuple[int, ...]:
    for room in (64, _MANY_GROUPS):
        try:
            raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, room * _GID.size)
        except OSError as e:
            if e.errno == errno.ERANGE:  # more groups than there was room for
                continue
            if e.errno in (errno.ENODATA, errno.ENOPROTOOPT):  # none, or a kernel before 4.13
                return ()
            raise
        return tuple(gid for (gid,) in _GID.iter_unpack(raw))
    return ()


def unread(sock: socket.socket) -> bool:
    """Tell whether something is on its way that the peer has not taken (SIOCOUTQ; over tcp, that has not arrived)."""
    return fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) != bytes(4)
