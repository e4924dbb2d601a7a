"""Netlink on the wire, against a kernel that answers what it is told to."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux import netattr, netlink, rtnetlink
from hawse.supervisor.linux.netlink import Channel, Message


def message(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    padding = bytes(-len(payload) % 4)
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload + padding


def ack(sequence: int, number: int = 0, words: str = "") -> bytes:
    payload = struct.pack("=i", -number) + bytes(16)
    if not words:
        return message(netlink.NLMSG_ERROR, sequence, payload)
    return message(netlink.NLMSG_ERROR, sequence, payload + netattr.text(1, words), flags=0x300)


def test_news_that_do_not_end_are_read_a_few_at_a_time() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        for _ in range(netlink.NEWS_AT_ONCE + 1):
            theirs.send(b"news")
        assert len(list(netlink.news(ours))) == netlink.NEWS_AT_ONCE
        assert list(netlink.news(ours)) == [b"news"]


class Kernel:
    """A socket: `answers` are given one a receive."""

    def __init__(self, *answers: bytes) -> None:
        self.sent: list[bytes] = []
        self._answers = list(answers)

    def setsockopt(self, level: int, *_: object) -> None:
        if level == netlink.SOL_NETLINK:
            raise OSError(errno.ENOPROTOOPT, "an old kernel")

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0)


def channel(*answers: bytes) -> tuple[Channel, Kernel]:
    kernel = Kernel(*answers)
    return Channel(cast(Any, kernel)), kernel


@given(st.dictionaries(st.integers(1, 100), st.binary(max_size=40)))
def test_attributes_are_read_back(given_: dict[int, bytes]) -> None:
    data = b"".join(netattr.attribute(kind, payload) for kind, payload in given_.items())
    assert len(data) % 4 == 0
    assert netattr.attributes(data) == given_


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    netattr.attributes(data)
    list(netlink.parse(data))


def test_many_requests_go_out_in_one_send_and_each_has_its_answer() -> None:
    requests = [Message(16, 0, b"abc", f"request {n}") for n in range(3)]
    made, kernel = channel(ack(2) + ack(1), ack(99, errno.EIO), ack(3, errno.EEXIST, "already there"))
    assert made.attempt(requests) == [None, None, (errno.EEXIST, "already there")]
    assert len(kernel.sent) == 1
    assert [(flags & 5, sequence) for _, flags, sequence, _ in netlink.parse(kernel.sent[0])] == [
        (5, 1),
        (5, 2),
        (5, 3),
    ]


def test_the_first_failure_is_raised_unless_it_is_as_good_as_success() -> None:
    fine = Message(16, 0, b"", "first", (errno.EEXIST,))
    bad = Message(16, 0, b"", "second")
    made, _ = channel(ack(1, errno.EEXIST), ack(2, errno.EPERM, "not you"))
    with pytest.raises(KernelError, match=r"second \(not you\): .*EPERM") as caught:
        made.run([fine, bad])
    assert caught.value.errno == errno.EPERM


def test_an_interrupted_dump_is_made_again() -> None:
    done = struct.pack("=i", 0)
    made, kernel = channel(
        message(16, 1, b"torn", flags=2 | netlink.DUMP_INTERRUPTED),
        message(netlink.NLMSG_DONE, 1, done),
        message(16, 1, b"late") + message(16, 2, b"one!"),
        message(16, 2, b"two!") + message(netlink.NLMSG_DONE, 2, done),
    )
    assert made.dump(Message(18, 0, b"")) == [b"one!", b"two!"]
    assert len(kernel.sent) == 2


def test_a_dump_that_is_always_interrupted_ends() -> None:
    done = struct.pack("=i", 0)
    torn = [
        message(16, n, b"torn", flags=2 | netlink.DUMP_INTERRUPTED) + message(netlink.NLMSG_DONE, n, done)
        for n in range(1, netlink.DUMP_TRIES + 2)
    ]
    with pytest.raises(KernelError, match="changes faster"):
        channel(*torn)[0].dump(Message(18, 0, b""))


def test_what_is_not_there_is_none() -> None:
    assert channel(ack(1, errno.ENODEV))[0].get(Message(18, 0, b"")) is None
    assert channel(message(16, 1, b"here"), ack(1))[0].get(Message(18, 0, b"")) == b"here"
    with pytest.raises(KernelError):
        channel(ack(1, errno.EPERM))[0].get(Message(18, 0, b"", "look"))


def test_a_link_is_read() -> None:
    payload = (
        struct.pack("=BxHiII", 0, 1, 7, 0x1 | 0x40, 0)
        + netattr.text(3, "h-1")
        + netattr.text(20, "hawse:c:n")
        + netattr.u32(10, 4)
        + netattr.attribute(1, bytes(6))
        + netattr.nest(18, netattr.text(1, "veth"), netattr.nest(5, netattr.attribute(1, b"\x03")))
    )
    link = rtnetlink.parse_link(payload)
    assert (link.index, link.name, link.kind, link.alias, link.master) == (7, "h-1", "veth", "hawse:c:n", 4)
    assert link.up and link.running and link.forwarding and link.mac == "00:00:00:00:00:00"
