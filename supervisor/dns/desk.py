"""The two sockets of one network's gateway, and who has how much of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

import anyio
import structlog

from hawse.supervisor.core.model import NetworkName
from hawse.supervisor.dns.quota import Places
from hawse.supervisor.linux import sockfilter
from hawse.supervisor.linux.sharedport import NAMES_PORT, SharedPort
from hawse.supervisor.linux.sockbuf import set_receive_buffer

IP_FREEBIND = 15  # ip(7); the socket module does not name it
PENDING, MOST_PENDING = 512, 1024
"""Questions that wait for others' answers, of one asker and on the network; one more is told SERVFAIL at once.  Each has a
descriptor of ours."""
CONNECTIONS, MOST_CONNECTIONS = 16, 128  # of one asker and on the network; one more is hung up on
BUFFER = 1 << 20  # bytes of questions that may wait: room for neighbours' until a flood is noticed
BATCH = 256  # datagrams that are taken in one turn of the loop
MUTE = 0.5  # seconds; in half a second some two thousand questions can be answered
MUTE_STRANGERS = 0.1  # seconds in which a container that has just come is not heard either
MOST_MUTED = 64  # addresses; every packet of everybody is compared with all of them

log = structlog.get_logger()


class Desk:
    """Raises OSError when the sockets cannot be had."""

    def __init__(self, network: NetworkName, gateway: IPv4Address, port: SharedPort) -> None:
        self.network = network
        self.scope = anyio.CancelScope()
        self.pending = Places(PENDING, MOST_PENDING)
        self.connections = Places(CONNECTIONS, MOST_CONNECTIONS)
        self.udp = _bound(socket.SOCK_DGRAM, gateway, port)
        try:
            self.tcp = _bound(socket.SOCK_STREAM, gateway, port)
        except BaseException:
            self.udp.close()
            raise
        self.udp_mutes, self.tcp_mutes = Mutes(self.udp), Mutes(self.tcp)

    def datagrams(self) -> Iterator[tuple[bytes, tuple[str, int]]]:
        """Some of those that are there, with where they came from."""
        for _ in range(BATCH):
            try:
                yield self.udp.recvfrom(65_535)
            except BlockingIOError:
                return
            except OSError as e:
                log.debug("question_not_received", network=self.network, error=str(e))
                return

    def answer(self, wire: bytes, client: tuple[str, int]) -> None:
        """A datagram that cannot be sent is lost, as any may be: the client asks again."""
        try:
            self.udp.sendto(wire, client)
        except OSError as e:
            log.debug("answer_not_sent", network=self.network, client=client[0], error=str(e))

    def close(self) -> None:
        for mutes in (self.udp_mutes, self.tcp_mutes):
            mutes.close()
        self.udp.close()
        self.tcp.close()


class Mutes:
    """Whom a socket does not hear for a moment.

    Otherwise a flood would cost us a system call for every packet, and fill the socket's buffer: what neighbours ask would
    not get into it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ends: dict[IPv4Address | None, asyncio.TimerHandle] = {}
        self._known: Collection[IPv4Address] | None = None

    def mute(self, source: IPv4Address) -> None:
        """Twice is once; and when there are too many of them, not at all."""
        if source not in self._ends and len(self._ends) < MOST_MUTED:
            self._begin(source, MUTE)

    def mute_strangers(self, known: Collection[IPv4Address]) -> None:
        """All but the known: who invents addresses to ask from has no end of them.  When too many are known, not at all."""
        if None not in self._ends and len(known) < sockfilter.MOST - MOST_MUTED:
            self._known = known
            self._begin(None, MUTE_STRANGERS)

    def close(self) -> None:
        for end in self._ends.values():
            end.cancel()

    def _begin(self, source: IPv4Address | None, seconds: float) -> None:
        self._ends[source] = asyncio.get_running_loop().call_later(seconds, self._hear, source)
        self._apply()

    def _hear(self, source: IPv4Address | None) -> None:
        del self._ends[source]
        if source is None:
            self._known = None
        self._apply()

    def _apply(self) -> None:
        sockfilter.drop(self._sock, [source for source in self._ends if source], but=self._known)


def _bound(kind: socket.SocketKind, gateway: IPv4Address, port: SharedPort) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with port.bound(sock, str(gateway), NAMES_PORT):
            if kind == socket.SOCK_DGRAM:
                set_receive_buffer(sock, BUFFER)
            else:
                sock.listen(MOST_CONNECTIONS)
    except BaseException:
        sock.close()
        raise
    return sock
