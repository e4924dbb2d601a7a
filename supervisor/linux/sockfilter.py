"""Packets that the kernel drops before they reach a socket, by who sent them: a classic BPF program on the socket.

socket(7), SO_ATTACH_FILTER; Documentation/networking/filter.rst; linux/filter.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection
from ipaddress import IPv4Address

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; Python has no names for them
_SOURCE = 0xFFF0_0000 + 12  # SKF_NET_OFF: from the IPv4 header on; the packet as the filter gets it begins after that
_LOAD, _JUMP_IF_EQUAL, _RETURN = (
    0x20,
    0x15,
    0x06,
)  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
_DROP, _KEEP = 0, 0xFFFF_FFFF
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")


MOST = 2000
"""Addresses that a filter has room for (BPF_MAXINSNS)."""


def drop(sock: socket.socket, sources: Collection[IPv4Address], *, but: Collection[IPv4Address] | None = None) -> None:
    """Drop from now on: packets of `sources` do not reach the socket, and with `but` those of all others neither, but of these.

    What waits in it stays.  A connection that a listening socket accepts keeps the filter that was there when it was made.
    """
    if not sources and but is None:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return
    program = _INSTRUCTION.pack(_LOAD, 0, 0, _SOURCE)
    for addresses, verdict in ((sources, _DROP), (but or (), _KEEP)):
        for address in addresses:
            program += _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, 1, int(address)) + _INSTRUCTION.pack(_RETURN, 0, 0, verdict)
    program += _INSTRUCTION.pack(_RETURN, 0, 0, _KEEP if but is None else _DROP)
    code = ctypes.create_string_buffer(program, len(program))
    described = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
