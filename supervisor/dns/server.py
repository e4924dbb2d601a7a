"""The name server of the networks that users make: it listens on every gateway's port 53, by UDP and TCP.

Who asks is known by the address that the question comes from, on the network whose gateway was asked: a container hears
the names on its own networks, everybody else is refused.  Other names are passed on (network/upstream.py).

The directory is kept in step by the journal, so a name is known before the program that has it runs, and forgotten when
it has exited.  Sockets are bound to addresses that need not be there yet (IP_FREEBIND) and outlive their bridge: a bridge
that went and came back is served as before.  While the daemon is down names are not resolved; programs ask again.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from ipaddress import IPv4Address

import anyio
import anyio.abc
import structlog

from hawse.supervisor import events
from hawse.supervisor.dns.directory import Directory
from hawse.supervisor.dns.question import Forward, respond
from hawse.supervisor.dns.upstream import Upstream
from hawse.supervisor.events import Event
from hawse.supervisor.linux.listeners import NAMES_PORT
from hawse.supervisor.model import Container, Endpoint, Network, NetworkName
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

IP_FREEBIND = 15  # ip(7); the socket module does not name it
MOST_PENDING = 256  # questions per network that wait for others' answers; one more is told SERVFAIL at once
MOST_CONNECTIONS = 64  # per network
IDLE = 10.0  # seconds until a TCP client that asks nothing is hung up on

log = structlog.get_logger()


class NameServer:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._directory = Directory()
        self._upstream = Upstream(parts.random.getrandbits)
        self._turn = itertools.count()
        self._serving: dict[NetworkName, anyio.CancelScope] = {}
        self._opened, self._to_serve = anyio.create_memory_object_stream[_Desk](float("inf"))

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; `started` is reported when every network of the records is served."""
        parts = self._parts
        async with anyio.create_task_group() as group:
            with parts.store.journal.subscribe(self._told), self._opened, self._to_serve:
                networks, plugged = await parts.store.read(_recorded)
                for network in networks:
                    self._open(network)
                for container, endpoint in plugged:
                    self._directory.connect(container, endpoint)
                task_status.started()
                async for desk in self._to_serve:
                    group.start_soon(self._serve, desk)

    def _told(self, event: Event) -> None:
        match event.fact:
            case events.NetworkCreated(network=network):
                self._open(network)
            case events.NetworkRemoved(network=network):
                self._close(network)
            case events.NetworkConnected(container=container, endpoint=endpoint):
                self._directory.connect(container, endpoint)
            case events.NetworkLeft(container=container, network=name):
                self._directory.disconnect(container.id, NetworkName(name))
            case events.NetworkDisconnected(container=container, endpoint=endpoint):
                self._directory.disconnect(container.id, endpoint.network)
            case events.ContainerExited(container=container, endpoints=endpoints):
                for endpoint in endpoints:
                    self._directory.disconnect(container.id, endpoint.network)
            case events.ContainerRenamed(container=container):
                self._directory.rename(container)

    # Networks.

    def _open(self, network: Network) -> None:
        """Bound at once: whatever is asked from now on waits in the socket for its task."""
        if not network.has_names or network.gateway is None or network.name in self._directory.networks:
            return
        self._directory.networks[network.name] = network
        try:
            desk = _Desk(network.name, network.gateway)
        except OSError as e:  # another name server has port 53 of every address
            log.warning("names_not_served", network=network.name, address=str(network.gateway), error=str(e))
            return
        self._serving[network.name] = desk.scope
        self._parts.name_servers[network.name] = network.gateway
        self._opened.send_nowait(desk)

    def _close(self, network: Network) -> None:
        self._directory.networks.pop(network.name, None)
        self._parts.name_servers.pop(network.name, None)
        if scope := self._serving.pop(network.name, None):
            scope.cancel()

    async def _serve(self, desk: _Desk) -> None:
        try:
            with desk.scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._datagrams, desk, group)
                    group.start_soon(self._connections, desk, group)
        finally:
            desk.close()

    # By UDP.

    async def _datagrams(self, desk: _Desk, group: anyio.abc.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                wire, (address, port) = await loop.sock_recvfrom(desk.udp, 65_535)
            except OSError as e:
                log.debug("question_not_received", network=desk.network, error=str(e))
                continue
            answer = self._respond(desk, address, wire, datagram=True)
            if isinstance(answer, Forward):
                if desk.pending < MOST_PENDING:
                    desk.pending += 1
                    group.start_soon(self._pass_on, desk, answer, wire, (address, port))
                else:
                    desk.answer(answer.failed, (address, port))
            elif answer:
                desk.answer(answer, (address, port))

    async def _pass_on(self, desk: _Desk, forward: Forward, wire: bytes, client: tuple[str, int]) -> None:
        try:
            answer = await self._upstream.ask(wire, forward.servers, self._own_addresses(), datagram=True)
            desk.answer(answer or forward.failed, client)
        finally:
            desk.pending -= 1

    # By TCP.

    async def _connections(self, desk: _Desk, group: anyio.abc.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, (address, _) = await loop.sock_accept(desk.tcp)
            except OSError as e:  # EMFILE above all: a moment later there may be room
                log.warning("client_not_accepted", network=desk.network, error=str(e))
                await anyio.sleep(0.1)
                continue
            if desk.connections < MOST_CONNECTIONS:
                desk.connections += 1
                group.start_soon(self._converse, desk, client, address)
            else:
                client.close()

    async def _converse(self, desk: _Desk, client: socket.socket, address: str) -> None:
        """Questions and answers, each after its length (RFC 7766), one after the other."""
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            try:
                while True:
                    with anyio.move_on_after(IDLE) as scope:
                        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                        answer = self._respond(desk, address, wire, datagram=False)
                        if isinstance(answer, Forward):
                            own = self._own_addresses()
                            told = await self._upstream.ask(wire, answer.servers, own, datagram=False)
                            answer = told or answer.failed
                        if answer is None:
                            return
                        writer.write(len(answer).to_bytes(2, "big") + answer)
                        await writer.drain()
                    if scope.cancelled_caught:
                        return
            finally:
                writer.close()
        except (OSError, EOFError):
            pass  # it hung up
        finally:
            desk.connections -= 1

    def _respond(self, desk: _Desk, address: str, wire: bytes, *, datagram: bool) -> bytes | Forward | None:
        source = IPv4Address(address)
        return respond(self._directory, desk.network, source, wire, turn=next(self._turn), datagram=datagram)

    def _own_addresses(self) -> list[str]:
        return [str(address) for address in self._parts.name_servers.values()]


def _recorded(tx: Tx) -> tuple[list[Network], list[tuple[Container, Endpoint]]]:
    containers = {c.id: c for c in tx.containers() if c.state.is_alive}
    return tx.networks(), [(containers[e.container_id], e) for e in tx.endpoints() if e.container_id in containers]


class _Desk:
    """The two sockets of one network's gateway.  Raises OSError when they cannot be had."""

    def __init__(self, network: NetworkName, gateway: IPv4Address) -> None:
        self.network = network
        self.scope = anyio.CancelScope()
        self.pending = 0
        self.connections = 0
        self.udp = _bound(socket.SOCK_DGRAM, gateway)
        try:
            self.tcp = _bound(socket.SOCK_STREAM, gateway)
        except BaseException:
            self.udp.close()
            raise

    def answer(self, wire: bytes, client: tuple[str, int]) -> None:
        """A datagram that cannot be sent is lost, as any may be: the client asks again."""
        try:
            self.udp.sendto(wire, client)
        except OSError as e:
            log.debug("answer_not_sent", network=self.network, client=client[0], error=str(e))

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def _bound(kind: socket.SocketKind, gateway: IPv4Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(gateway), NAMES_PORT))
        if kind == socket.SOCK_STREAM:
            sock.listen(MOST_CONNECTIONS)
    except BaseException:
        sock.close()
        raise
    return sock
