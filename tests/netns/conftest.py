"""Machines as network namespaces, without a process that forks: the test's own thread steps into one, makes a socket and
steps out again; the socket stays there.

The test itself, and with it the code under test, runs in the namespace `host`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from hawse.cli.selftest.waiting import PATIENCE
from hawse.supervisor.core.model import ContainerId, Endpoint, Network, NetworkName, PortBinding
from hawse.supervisor.network import names
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.network.drivers.registry import Registry
from hawse.supervisor.runtime import launcher
from tests.netns.boxes import Boxes

CLONE_NEWNET = 0x4000_0000
HOST, CLIENT = "192.0.2.1", "192.0.2.2"
BRIEFLY = 0.4  # seconds that something which must not happen is given to happen
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Machine:
    """A network namespace, kept by a descriptor."""

    def __init__(self) -> None:
        with open("/proc/thread-self/ns/net") as before:
            _check(_libc.unshare(CLONE_NEWNET))
            try:
                self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                self.run("ip", "link", "set", "lo", "up")
            finally:
                _check(_libc.setns(before.fileno(), CLONE_NEWNET))
        self._open = ExitStack()

    def close(self) -> None:
        self._open.close()
        os.close(self._fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        with open("/proc/thread-self/ns/net") as before:
            _check(_libc.setns(self._fd, CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(before.fileno(), CLONE_NEWNET))

    @staticmethod
    def run(*argv: str) -> str:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def ip(self, *argv: str) -> str:
        with self.entered():
            return self.run("ip", *argv)

    def open(self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
        """Closed with the machine."""
        with self.entered():
            made = self._open.enter_context(socket.socket(family, kind, protocol))
        made.settimeout(PATIENCE)
        return made

    def listen(self, port: int, address: str = "0.0.0.0", kind: int = socket.SOCK_STREAM) -> socket.socket:
        server = self.open(kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def connect(self, address: str, port: int, *, source_port: int = 0) -> socket.socket:
        client = self.open()
        if source_port:
            client.bind(("0.0.0.0", source_port))
        client.connect((address, port))
        return client

    def reaches(self, address: str, port: int, server: socket.socket, patience: float = PATIENCE) -> str:
        """Send a line over a new connection; the address that the server sees, "" when it gets none."""
        client = self.open()
        client.settimeout(patience)
        try:
            client.connect((address, port))
        except OSError:
            client.close()  # or it would go on trying, and be there when the next one is expected
            return ""
        client.settimeout(PATIENCE)
        client.sendall(b"hello")
        accepted, peer = server.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"answer")
        assert client.recv(6) == b"answer"
        return str(peer[0])


class Guest(Machine):
    """A container's network namespace: with a process in it, and a netlink socket, as a shim hands it out."""

    def __init__(self, container_id: str) -> None:
        super().__init__()
        self.id = ContainerId(container_id)
        with self.entered():
            self._process = subprocess.Popen(["sleep", "1000"])
            self.netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self.netlink.bind((0, 0))
        self.alive = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def die(self) -> None:
        """The last process ends, and with the descriptors the namespace."""
        if self.alive:
            self.alive = False
            self._process.kill()
            self._process.wait()
            self.netlink.close()
            super().close()

    close = die


@dataclass
class World:
    """`client` is on a wire with `host`, where the test runs; it routes everything there."""

    host: Machine
    client: Machine
    core: NetworkCore
    own_table: bool | None
    _guests: list[Guest] = field(default_factory=list)

    def network(
        self, name: str = "testbr", subnet: str = "10.10.10.0/24", *, internal: bool = False, **options: str
    ) -> Network:
        net = IPv4Network(subnet)
        return Network(
            id=name.encode().hex().ljust(64, "0"),
            name=NetworkName(name),
            driver="bridge",
            created_at=0,
            subnet=net,
            gateway=net.network_address + 1,
            device=names.bridge(name, "", ()),
            internal=internal,
            options=options,
        )

    def guest(self) -> Guest:
        made = Guest(f"{len(self._guests) + 1:064x}")
        self._guests.append(made)
        return made

    def endpoint(self, network: Network, guest: Guest, address: str, *ports: PortBinding, index: int = 0) -> Endpoint:
        assert network.subnet
        return Endpoint(
            container_id=guest.id,
            network=network.name,
            address=IPv4Address(address),
            prefix=network.subnet.prefixlen,
            mac="",
            gateway=network.gateway,
            veth=names.veth(guest.id, network.name, ""),
            ifname=f"eth{index}",
            ports=ports,
        )

    async def plug(self, network: Network, address: str, *ports: PortBinding) -> tuple[Guest, Endpoint]:
        await self.core.ensure(network)
        guest = self.guest()
        endpoint = self.endpoint(network, guest, address, *ports)
        return guest, await self.core.plug(network, endpoint, guest.netlink, guest.pid)

    def elements(self) -> list[str]:
        """The published ports in the kernel, as nft shows them."""
        shown = self.host.run("nft", "list", "ruleset")
        return [line.strip() for line in shown.splitlines() if " comment " in line and '" : ' in line]

    def close(self) -> None:
        for guest in self._guests:
            guest.close()


@pytest.fixture(autouse=True)
def patient_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawner comes up with its first container: where all programs are slow, for longer than a daemon lets it."""
    monkeypatch.setattr(launcher, "SPAWN_TIMEOUT", max(launcher.SPAWN_TIMEOUT, PATIENCE / 2))


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[Boxes]:
    async with Boxes(tmp_path) as made:
        yield made


@pytest.fixture
def host() -> Iterator[Machine]:
    """A fresh namespace, in which the test's thread (and every thread it starts) is."""
    machine = Machine()
    try:
        with machine.entered():
            yield machine
    finally:
        machine.close()


@pytest.fixture
def client(host: Machine) -> Iterator[Machine]:
    machine = Machine()
    with machine.entered():
        holder = subprocess.Popen(["sleep", "1000"])
    try:
        host.run("ip", "link", "add", "cli0", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        host.run("ip", "addr", "add", f"{HOST}/24", "dev", "cli0")
        host.run("ip", "link", "set", "cli0", "up")
        machine.ip("addr", "add", f"{CLIENT}/24", "dev", "eth0")
        machine.ip("link", "set", "eth0", "up")
        machine.ip("route", "add", "default", "via", HOST)
        yield machine
    finally:
        holder.kill()
        holder.wait()
        machine.close()


@pytest.fixture(params=["owner", "watch"])
def own_table(request: pytest.FixtureRequest) -> bool | None:
    """Both kinds of table: one that is ours alone, and one that others can change."""
    return None if request.param == "owner" else False


@pytest.fixture
async def world(host: Machine, client: Machine, own_table: bool | None) -> AsyncIterator[World]:
    core = NetworkCore(instance="", table="hawse", tag="hawse", own_table=own_table, drivers=Registry)
    await core.start()
    made = World(host, client, core, own_table)
    try:
        yield made
    finally:
        made.close()
        await made.core.close()
