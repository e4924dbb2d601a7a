"""The name server of the networks that users make: it listens on every gateway's port 53, by UDP and TCP.

Who asks is known by the address that the question comes from, on the network whose gateway was asked: a container hears
the names on its own networks, everybody else is refused.  Other names are passed on (upstream.py).

Nobody keeps the daemon, or its neighbours, from their turn by asking: of each asker so many questions wait, they are
answered turn and turn about in a small part of the loop's time (backlog.py), and who asks more than that is not heard by the
kernel for a moment (linux/sockfilter.py).  Who waits for each answer before it asks again may ask as fast as it can: an
answer that is dropped would cost it the five seconds after which resolvers ask again.  So no wait in here may end without
giving way to others: asyncio's sock_recv and its kind do, as long as there is something to read.

The directory is kept in step by the journal, so a name is known before the program that has it runs, and forgotten when
it has exited.  Sockets are bound to addresses that need not be there yet (IP_FREEBIND) and outlive their bridge: a bridge
that went and came back is served as before.  While the daemon is down names are not resolved; programs ask again.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import assert_never

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from hawse.supervisor.core import events
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Container, Endpoint, Network, NetworkName
from hawse.supervisor.dns.backlog import Backlog
from hawse.supervisor.dns.desk import Desk, Mutes
from hawse.supervisor.dns.directory import Directory
from hawse.supervisor.dns.question import Forward, respond
from hawse.supervisor.dns.quota import Rate
from hawse.supervisor.dns.upstream import Upstream
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

QUESTIONS, STRANGERS = 1000, 200
"""Questions that wait for their turn, of one asker and of all who are not on the network; what is beyond them is dropped, over
TCP it waits."""
CONNECTS, CONNECTS_AT_ONCE = 200, 50  # per second and asker
SLICE = 0.002  # seconds of every turn of the loop in which questions are answered, however many wait
ANOTHER_TRY = 0.01  # seconds until a connection over its quota tries again
IDLE = 10.0  # seconds until a TCP client that asks nothing is hung up on

Asker = tuple[NetworkName, IPv4Address | None]
"""Whose quota a question counts for: an address on a network; None for all together that are not on it."""

log = structlog.get_logger()


class NameServer:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._directory = Directory()
        self._upstream = Upstream(parts.random.getrandbits)
        self._turn = itertools.count()
        self._connects = Rate(CONNECTS, CONNECTS_AT_ONCE)
        self._backlog = Backlog[Callable[[], None]]()
        self._filled = anyio.Event()
        self._serving: dict[NetworkName, anyio.CancelScope] = {}
        self._opened, self._to_serve = anyio.create_memory_object_stream[Desk](float("inf"))

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; `started` is reported when every network of the records is served."""
        parts = self._parts
        async with anyio.create_task_group() as group:
            with parts.store.journal.subscribe(self._told), self._opened, self._to_serve:
                networks, plugged = await parts.store.read(_recorded)
                for network in networks:
                    self._open(network)
                for container, endpoint in plugged:
                    self._directory.connect(container, endpoint)
                group.start_soon(self._work)
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
            case (
                events.ContainerCreated()
                | events.ContainerStarted()
                | events.ContainerOom()
                | events.ContainerPaused()
                | events.ContainerResumed()
                | events.ContainerRestarting()
                | events.ContainerKilled()
                | events.ContainerHealthChanged()
                | events.ContainerUpdated()
                | events.ContainerStartFailed()
                | events.ContainerCommitted()
                | events.ContainerQuarantined()
                | events.ExecStarted()
                | events.ExecEnded()
                | events.ContainerRemoved()
                | events.NetworkObstructed()
                | events.NetworkCleared()
                | events.NetworkPublished()
                | events.NetworkPortTaken()
                | events.NetworkRepaired()
                | events.ImageFact()
                | events.VolumeFact()
                | events.HookFact()
                | events.DaemonStarted()
                | events.DaemonRecovered()
            ):
                pass  # no name or address comes or goes
            case fact:
                assert_never(fact)

    # Networks.

    def _open(self, network: Network) -> None:
        """Bound at once: whatever is asked from now on waits in the socket for its task."""
        if not network.has_names or network.gateway is None or network.name in self._directory.networks:
            return
        self._directory.networks[network.name] = network
        try:
            desk = Desk(network.name, network.gateway, self._parts.live.names_port)
        except OSError as e:  # another name server has port 53 of every address
            log.warning("names_not_served", network=network.name, address=str(network.gateway), error=str(e))
            return
        self._serving[network.name] = desk.scope
        self._parts.live.name_servers[network.name] = network.gateway
        self._opened.send_nowait(desk)

    def _close(self, network: Network) -> None:
        self._directory.networks.pop(network.name, None)
        self._parts.live.name_servers.pop(network.name, None)
        if scope := self._serving.pop(network.name, None):
            scope.cancel()

    async def _serve(self, desk: Desk) -> None:
        try:
            with desk.scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._datagrams, desk, group)
                    group.start_soon(self._connections, desk, group)
        finally:
            desk.close()

    # By UDP.

    async def _datagrams(self, desk: Desk, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(desk.udp)
            for wire, client in desk.datagrams():
                asker = self._asker(desk, client[0])
                if not self._admit(asker, partial(self._answer, desk, group, asker, wire, client)):
                    self._mute(desk.udp_mutes, asker)

    def _answer(
        self, desk: Desk, group: anyio.abc.TaskGroup, asker: Asker, wire: bytes, client: tuple[str, int]
    ) -> None:
        if desk.scope.cancel_called:  # the network went while the question waited its turn
            return
        answer = self._respond(desk, client[0], wire, datagram=True)
        if isinstance(answer, Forward):
            if desk.pending.take(asker):
                group.start_soon(self._pass_on, desk, asker, answer, wire, client)
            else:
                desk.answer(answer.failed, client)
        elif answer:
            desk.answer(answer, client)

    async def _pass_on(self, desk: Desk, asker: Asker, forward: Forward, wire: bytes, client: tuple[str, int]) -> None:
        try:
            answer = await self._upstream.ask(wire, forward.servers, self._own_addresses(), datagram=True)
            desk.answer(answer or forward.failed, client)
        finally:
            desk.pending.release(asker)

    # By TCP.

    async def _connections(self, desk: Desk, group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(desk.tcp)
            try:
                client, (address, _) = desk.tcp.accept()
            except BlockingIOError:  # it hung up before we came to it
                continue
            except OSError as e:  # EMFILE above all: a moment later there may be room
                log.warning("client_not_accepted", network=desk.network, error=str(e))
                await anyio.sleep(0.1)
                continue
            asker = self._asker(desk, address)
            if not self._connects.take(asker, anyio.current_time()):
                client.close()
                self._mute(desk.tcp_mutes, asker)
            elif desk.connections.take(asker):
                group.start_soon(self._converse, desk, asker, client, address)
            else:
                client.close()

    async def _converse(self, desk: Desk, asker: Asker, client: socket.socket, address: str) -> None:
        """Questions and answers, each after its length (RFC 7766), one after the other."""
        try:
            client.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=client)
            try:
                while True:
                    with anyio.move_on_after(IDLE) as scope:
                        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                        answer = await self._in_turn(desk, asker, address, wire)
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
            desk.connections.release(asker)

    async def _in_turn(self, desk: Desk, asker: Asker, address: str, wire: bytes) -> bytes | Forward | None:
        """`_respond`, when the asker's quota and its turn have come; meanwhile its next questions wait in the connection."""
        told: asyncio.Future[bytes | Forward | None] = asyncio.get_running_loop().create_future()

        def respond_now() -> None:
            if not told.done():
                told.set_result(self._respond(desk, address, wire, datagram=False))

        while not self._admit(asker, respond_now):
            await anyio.sleep(ANOTHER_TRY)
        return await told

    # By turns.

    def _asker(self, desk: Desk, address: str) -> Asker:
        source = IPv4Address(address)
        return desk.network, source if self._directory.asker(desk.network, source) else None

    def _mute(self, mutes: Mutes, asker: Asker) -> None:
        network, source = asker
        if source is not None:
            mutes.mute(source)
        else:
            mutes.mute_strangers(self._directory.addresses(network))

    def _admit(self, asker: Asker, respond_now: Callable[[], None]) -> bool:
        """False for one too many: it is neither read nor answered."""
        _, source = asker
        if not self._backlog.put(asker, respond_now, STRANGERS if source is None else QUESTIONS):
            return False
        self._filled.set()
        return True

    async def _work(self) -> None:
        """Answer what was let in, for a moment in every turn of the loop."""
        while True:
            await self._filled.wait()
            until = anyio.current_time() + SLICE
            while self._backlog and anyio.current_time() < until:
                self._backlog.take()()
            if not self._backlog:
                self._filled = anyio.Event()
            await anyio.lowlevel.checkpoint()

    def _respond(self, desk: Desk, address: str, wire: bytes, *, datagram: bool) -> bytes | Forward | None:
        source = IPv4Address(address)
        return respond(self._directory, desk.network, source, wire, turn=next(self._turn), datagram=datagram)

    def _own_addresses(self) -> list[str]:
        return [str(address) for address in self._parts.live.name_servers.values()]


def _recorded(tx: Tx) -> tuple[list[Network], list[tuple[Container, Endpoint]]]:
    containers = {c.id: c for c in tx.containers() if c.state.is_alive}
    return tx.networks(), [(containers[e.container_id], e) for e in tx.endpoints() if e.container_id in containers]
