"""What daemon, spawner, shim and init say to each other.  Stdlib only: the child side imports it.

All sockets are AF_UNIX SOCK_SEQPACKET: one JSON object a message, file descriptors beside it by SCM_RIGHTS.

    daemon → spawner   spawn(id, spec_path) + fd: the shim's first control connection
    spawner → daemon   spawned(id, shim_pid) + fd: pidfd of the shim        | failed(id, errno, message)
                       (it is the shim, forked ahead of time, that reads and answers on the spawner's socket)
    shim → daemon      hello namespaces ready started failed exited exec_started exec_exited, and answers
    daemon → shim      go abort attach exec resize netns state release

A restarted daemon connects to the shim's own socket (`ShimSpec.socket`) and speaks the same.  The protocol is versioned:
a shim says `hello` with its VERSION first, and a daemon understands every version from MIN_VERSION on, because a shim
outlives the daemon that made it and so an upgrade.
"""

from __future__ import annotations

import _socket
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, NoReturn

VERSION = 1
MIN_VERSION = 1
MAX_MESSAGE = 64 * 1024
MAX_FDS = 16

Socket = _socket.socket
"""The base class of socket.socket, which is one, too."""


def socketpair() -> tuple[Socket, Socket]:
    """Two connected ends for messages, close-on-exec."""
    return _socket.socketpair(_AF_UNIX, _SOCK_SEQPACKET, 0)


def send(sock: Socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message.  Raises BrokenPipeError when the other side is gone, ValueError when it is too long."""
    send_raw(sock, "".join(_encode(message, 0)).encode(), fds)


def receive(sock: Socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors (close-on-exec; the caller owns them).

    Raises EOFError at the end, ValueError for what is no JSON.
    """
    data, fds = receive_raw(sock)
    if not data:
        raise EOFError
    try:
        return decode(data), fds
    except ValueError:
        for fd in fds:
            os.close(fd)
        raise


def decode(data: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        message, _ = _decode(data.decode(), 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message


def send_raw(sock: Socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """A message as it was received.  Raises as `send`."""
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"message of {len(data)} bytes; at most {MAX_MESSAGE} fit")
    rights = [(_SOL_SOCKET, _SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    sock.sendmsg([data], rights, _MSG_NOSIGNAL)


def receive_raw(sock: Socket) -> tuple[bytes, list[int]]:
    """A message to pass on, and its descriptors; b"" at the end."""
    # Its size first: room for the longest would be taken from untouched memory, which a shim then has for itself.
    size = sock.recv_into(_probe, 1, _MSG_PEEK | _MSG_TRUNC)
    data, ancillary, _, _ = sock.recvmsg(size, _RIGHTS_SPACE, _MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
            fds += struct.unpack_from(f"{len(payload) // 4}i", payload)
    return data, fds


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{value!r} cannot be sent")


# A shim shares all memory with the spawner that it never touches.  The json and socket modules' own layers of Python would
# cost each of them some 400 KiB, so what lies below is used: json's C scanner and encoder, the base class of sockets, and
# plain integers for enumerations.
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_encode: Callable[[object, int], tuple[str, ...]] = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _refuse, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
)
_AF_UNIX, _SOCK_SEQPACKET = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET)
_MSG_CMSG_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_MSG_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_MSG_PEEK, _MSG_TRUNC = int(socket.MSG_PEEK), int(socket.MSG_TRUNC)
_RIGHTS_SPACE = socket.CMSG_SPACE(MAX_FDS * 4)
_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_probe = bytearray(1)
_SOL_SOCKET = int(socket.SOL_SOCKET)
