"""Who is at the other end of a unix socket, as the kernel recorded it when the peer connected (unix(7), socket(7))."""

from __future__ import annotations

import errno
import socket
import struct
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
    """The peer's identity at connect time: what it does to itself afterwards changes nothing."""
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
