"""Whom a socket does not hear: real sockets on the loopback, which has addresses enough."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from hawse.supervisor.dns import desk
from hawse.supervisor.dns.desk import Mutes
from hawse.supervisor.linux import sockfilter

LOUD, QUIET, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def heard(listener: socket.socket) -> list[str]:
    """Who is heard, of three that say something.  On the loopback a datagram is there, or not, when send returns."""
    for source in (LOUD, QUIET, OTHER):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            sock.sendto(b"hear me", listener.getsockname())
    found = []
    try:
        while True:
            found.append(listener.recvfrom(100)[1][0])
    except BlockingIOError:
        return found


def test_datagrams_of_these_addresses_are_dropped(listener: socket.socket) -> None:
    sockfilter.drop(listener, [IPv4Address(LOUD), IPv4Address(OTHER)])
    assert heard(listener) == [QUIET]
    sockfilter.drop(listener, [IPv4Address(QUIET)])
    assert heard(listener) == [LOUD, OTHER]
    sockfilter.drop(listener, [])
    assert heard(listener) == [LOUD, QUIET, OTHER]


def test_everybodys_datagrams_are_dropped_but_of_these_addresses(listener: socket.socket) -> None:
    sockfilter.drop(listener, [IPv4Address(LOUD)], but=[IPv4Address(LOUD), IPv4Address(QUIET)])
    assert heard(listener) == [QUIET]
    sockfilter.drop(listener, [], but=[])
    assert heard(listener) == []


def test_so_many_addresses_are_room_for(listener: socket.socket) -> None:
    sockfilter.drop(listener, [IPv4Address("10.0.0.0") + number for number in range(sockfilter.MOST)])
    assert heard(listener) == [LOUD, QUIET, OTHER]


def test_connections_of_these_addresses_are_not_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sockfilter.drop(server, [IPv4Address(LOUD)])
        socket.create_connection(server.getsockname(), 30, (QUIET, 0)).close()
        with pytest.raises(TimeoutError):
            socket.create_connection(server.getsockname(), 0.1, (LOUD, 0))
        sockfilter.drop(server, [])
        socket.create_connection(server.getsockname(), 30, (LOUD, 0)).close()


async def test_muted_for_a_moment(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MUTE", 0.01)
    mutes = Mutes(listener)
    mutes.mute(IPv4Address(LOUD))
    mutes.mute(IPv4Address(LOUD))
    assert heard(listener) == [QUIET, OTHER]
    async with asyncio.timeout(60):
        while LOUD not in heard(listener):
            await asyncio.sleep(0.001)
    mutes.close()


async def test_strangers_are_muted_all_together(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MUTE", 0.01)
    mutes = Mutes(listener)
    mutes.mute(IPv4Address(QUIET))
    mutes.mute_strangers([IPv4Address(QUIET), IPv4Address(OTHER)])
    assert heard(listener) == [OTHER]
    async with asyncio.timeout(60):
        while heard(listener) != [LOUD, QUIET, OTHER]:
            await asyncio.sleep(0.001)
    mutes.close()


async def test_not_everybody_can_be_muted(listener: socket.socket) -> None:
    """Each costs every packet a comparison."""
    mutes = Mutes(listener)
    for number in range(desk.MOST_MUTED):
        mutes.mute(IPv4Address("10.0.0.0") + number)
    mutes.mute(IPv4Address(LOUD))
    assert heard(listener) == [LOUD, QUIET, OTHER]
    mutes.close()
