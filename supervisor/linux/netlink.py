"""Netlink on the wire: messages (netattr.py has their attributes), and a channel that sends many requests in one call.

Written with `struct` and not with a library because of the numbers: a veth request costs 12 µs to encode here, 137 µs with
pyroute2's message classes, a whole `link add` through its IPRoute 660 µs.  One send is also a promise: the kernel works
through all its messages before the sender can die, so a link and its owner's tag cannot be torn apart by a SIGKILL.

Synchronous: the kernel does the work inside `send`.  Callers are in a worker thread or know that it is short.
Subscriptions to events are reconcile/news.py's business.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux.netattr import attributes

REQUEST, ACK, ROOT_MATCH = 0x1, 0x4, 0x300  # NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
DUMP_INTERRUPTED = 0x10
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11

_HEADER = struct.Struct("=IHHII")


ANSWER_TIMEOUT = 10  # seconds; the kernel answers inside the request, so only a lost answer is waited for
DUMP_TRIES = 100
NEWS_AT_ONCE = 64  # datagrams
AT_ONCE = 100  # requests in one send: the acks of all have to fit into the socket's buffer


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer without its header.  `what` names it in errors: "create veth h-12"."""

    kind: int
    flags: int
    payload: bytes
    what: str = ""
    tolerate: tuple[int, ...] = ()  # errnos that are as good as success: gone already, there already


class Channel:
    """Requests over one netlink socket.  Not for two threads at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sequence = 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", ANSWER_TIMEOUT, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):  # acks without the request's copy, with the kernel's words
            try:
                sock.setsockopt(SOL_NETLINK, option, 1)
            except OSError:
                pass  # older than Linux 4.3 / 4.12: longer acks, fewer words

    @classmethod
    def open(cls, protocol: int = socket.NETLINK_ROUTE) -> Channel:
        """A channel in the caller's network namespace."""
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        sock.bind((0, 0))
        return cls(sock)

    def close(self) -> None:
        self._socket.close()

    def run(self, messages: Sequence[Message]) -> None:
        """Send all in one call and check every ack.  Raises KernelError of the first that failed; the others are done."""
        failures = self.attempt(messages)
        for message, failure in zip(messages, failures, strict=True):
            if failure and failure[0] not in message.tolerate:
                raise _error(message, *failure)

    def attempt(self, messages: Sequence[Message]) -> list[tuple[int, str] | None]:
        """Send all in one call, or few; for each None, or (errno, the kernel's explanation)."""
        if len(messages) > AT_ONCE:
            return self.attempt(messages[:AT_ONCE]) + self.attempt(messages[AT_ONCE:])
        first = self._send(messages, ACK)
        results: list[tuple[int, str] | None] = [None] * len(messages)
        missing = set(range(len(messages)))
        while missing:
            for kind, flags, sequence, payload in self._receive():
                index = sequence - first
                if kind == NLMSG_ERROR and index in missing:
                    missing.discard(index)
                    if number := -struct.unpack_from("=i", payload)[0]:
                        results[index] = (number, _explanation(payload, flags))
        return results

    def get(self, message: Message) -> bytes | None:
        """The payload of the one object asked for; None when the kernel has no such.  Raises KernelError."""
        first = self._send([message], ACK)
        found: bytes | None = None
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != first:
                    continue
                if kind != NLMSG_ERROR:
                    found = payload
                elif number := -struct.unpack_from("=i", payload)[0]:
                    if number in (errno.ENODEV, errno.ENOENT, errno.ESRCH):
                        return None
                    raise _error(message, number, _explanation(payload, flags))
                else:
                    return found

    def dump(self, message: Message) -> list[bytes]:
        """The payloads of all objects.  A dump that a change interrupted is made again.  Raises KernelError."""
        for _ in range(DUMP_TRIES):
            first = self._send([message], ROOT_MATCH)
            found: list[bytes] = []
            interrupted = done = False
            while not done:
                for kind, flags, sequence, payload in self._receive():
                    if sequence != first:
                        continue
                    interrupted |= bool(flags & DUMP_INTERRUPTED)
                    if kind == NLMSG_DONE:
                        done = True
                    elif kind == NLMSG_ERROR:
                        raise _error(message, -struct.unpack_from("=i", payload)[0], "")
                    else:
                        found.append(payload)
            if not interrupted:
                return found
        raise _error(message, errno.EINTR, "it changes faster than it can be listed")

    def _send(self, messages: Sequence[Message], flags: int) -> int:
        """Returns the sequence number of the first."""
        first = self._sequence + 1
        parts = []
        for message in messages:
            self._sequence += 1
            payload = message.payload + bytes(-len(message.payload) % 4)
            flags_of_it = message.flags | flags | REQUEST
            parts.append(_HEADER.pack(len(payload) + 16, message.kind, flags_of_it, self._sequence, 0) + payload)
        self._socket.send(b"".join(parts))
        return first

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, sequence, payload) of each message in one datagram."""
        try:
            return parse(self._socket.recv(1 << 16))
        except BlockingIOError:
            raise KernelError("netlink: answer", errno.ETIMEDOUT) from None


def news(sock: socket.socket) -> Iterator[bytes]:
    """Datagrams of a subscribed socket that is ready, b"" where the kernel says that some were lost.  Raises OSError.

    Not all that wait: they may come faster than they are read, and the event loop calls again.
    """
    for _ in range(NEWS_AT_ONCE):
        try:
            yield sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno != errno.ENOBUFS:
                raise
            yield b""


def parse(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, payload) of each message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _explanation(payload: bytes, flags: int) -> str:
    """NLMSGERR_ATTR_MSG of an extended ack (netlink(7)): it follows the error and the request's header."""
    if not flags & 0x200:
        return ""
    start = 20 if flags & 0x100 else 4 + ((struct.unpack_from("=I", payload, 4)[0] + 3) & ~3)
    return attributes(payload, start).get(1, b"").rstrip(b"\0").decode(errors="replace")


def _error(message: Message, number: int, explanation: str) -> KernelError:
    return KernelError(f"netlink: {message.what or message.kind}", number, explanation and f"({explanation})")
