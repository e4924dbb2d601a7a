"""The kernel's flow table, and who has a port of the host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.linux.conntrack import MANY, Conntrack
from hawse.supervisor.linux.heldports import HeldPorts
from hawse.supervisor.linux.sharedport import SharedPort
from tests.netns.conftest import Machine

FROM, TO, OTHER = "10.9.9.1", "10.9.9.2", "10.9.9.3"


@pytest.fixture(params=["filtered", "dumped"])
def flows(host: Machine, request: pytest.FixtureRequest) -> Iterator[Conntrack]:
    """By the kernel's own filter, and as on a kernel that has none."""
    host.run("nft", "add table t; add chain t c { type filter hook output priority 0; }; add rule t c ct state new")
    for address in (FROM, TO, OTHER):
        host.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    assert Conntrack.available()
    with closing(Conntrack()) as conntrack:
        conntrack._filtered = request.param == "filtered"
        for destination in (TO, OTHER):
            sender = host.open(socket.SOCK_DGRAM)
            sender.bind((FROM if destination == TO else OTHER, 0))
            for port in (53, 54):
                sender.sendto(b"x", (destination, port))
        yield conntrack


def shown(conntrack: Conntrack) -> set[tuple[str, str, int]]:
    return {(str(f.source), str(f.destination), f.to_port) for f in conntrack.flows() if f.protocol == 17}


def test_flows_of_an_address_are_forgotten_and_no_others(flows: Conntrack) -> None:
    assert shown(flows) == {(FROM, TO, 53), (FROM, TO, 54), (OTHER, OTHER, 53), (OTHER, OTHER, 54)}
    flows.forget_addresses([IPv4Address("10.9.9.77")])
    assert len(shown(flows)) == 4
    flows.forget_addresses([IPv4Address(TO)])  # where they lead to
    assert shown(flows) == {(OTHER, OTHER, 53), (OTHER, OTHER, 54)}
    flows.forget_addresses([IPv4Address(OTHER), IPv4Address(FROM), IPv4Address(TO)])
    assert shown(flows) == set()


def test_an_address_with_very_many_flows_is_forgotten_among_others(flows: Conntrack, host: Machine) -> None:
    """By one pass of the kernel where it can; the others as ever."""
    unused = [IPv4Address(f"10.9.9.{n}") for n in (77, 78)]
    sender = host.open(socket.SOCK_DGRAM)
    sender.bind((OTHER, 0))

    def send() -> None:
        for port in range(1000, 1001 + MANY):
            sender.sendto(b"x", (OTHER, port))

    send()
    flows.forget_addresses([IPv4Address(OTHER), *unused])
    assert shown(flows) == {(FROM, TO, 53), (FROM, TO, 54)}
    send()
    flows.forget_addresses([IPv4Address(OTHER), IPv4Address(TO), *unused])
    assert shown(flows) == set()


def test_flows_to_a_port_are_forgotten_and_no_others(flows: Conntrack) -> None:
    flows.forget_ports([("udp", 53), ("tcp", 54)])
    assert shown(flows) == {(FROM, TO, 54), (OTHER, OTHER, 54)}


def binding(port: int, address: str | None = None, proto: str = "tcp") -> PortBinding:
    return PortBinding(
        container_port=80, host_port=port, proto=proto, host_ip=IPv4Address(address) if address else None
    )


@pytest.fixture
def held(host: Machine) -> Iterator[HeldPorts]:
    ports = HeldPorts(SharedPort())
    with host.entered():
        yield ports
        ports.release("c")


def test_who_listens_is_named(host: Machine, held: HeldPorts) -> None:
    host.listen(8080)
    host.listen(8081, "127.0.0.1")
    host.listen(5353, kind=socket.SOCK_DGRAM)
    assert "(pid " in held.hold("c", binding(8080))
    assert "process " in held.hold("c", binding(8080, "127.0.0.1")), "every address includes this one"
    assert "process " in held.hold("c", binding(8081)), "and the other way round"
    assert "process " in held.hold("c", binding(5353, proto="udp"))
    for free in (binding(5353), binding(8082), binding(8080, proto="sctp")):
        assert held.hold("c", free) == ""


def test_a_connection_that_just_ended_does_not_hold_its_port(host: Machine, held: HeldPorts) -> None:
    server = host.listen(8080)
    client = host.connect("127.0.0.1", 8080)
    accepted, _ = server.accept()
    accepted.close()  # first, so that the port waits in TIME_WAIT here
    client.close()
    server.close()
    assert held.hold("c", binding(8080)) == ""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", 8080))


def test_an_address_that_the_host_has_not(held: HeldPorts) -> None:
    with pytest.raises(UserError, match="cannot assign requested address"):
        held.hold("c", binding(8080, "203.0.113.9"))
    assert held.hold("c", binding(8080, "203.0.113.9"), again=True) == "", "it had it before"


def test_what_comes_to_a_held_port_is_refused_or_dropped(host: Machine, held: HeldPorts) -> None:
    """Should the rules be gone: a client is not left waiting, and nothing piles up."""
    for proto in ("tcp", "udp"):
        assert held.hold("c", binding(8080, proto=proto)) == ""
    with pytest.raises(ConnectionRefusedError):
        host.connect("127.0.0.1", 8080)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(b"x" * 1000, ("127.0.0.1", 8080))
    rows = [line.split() for line in Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]]
    assert [row[4].partition(":")[2] for row in rows] == ["00000000"], "nothing waits in it"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_port_53_of_every_address_beside_our_own_name_servers(host: Machine, kind: socket.SocketKind) -> None:
    """Whichever was first; and nobody else has it beside them, nor a container what a gateway has."""
    names = SharedPort()
    held, dns = HeldPorts(names), binding(53, proto="tcp" if kind == socket.SOCK_STREAM else "udp")
    with host.entered(), socket.socket(socket.AF_INET, kind) as before, socket.socket(socket.AF_INET, kind) as after:
        for sock, address in ((before, "127.0.0.2"), (after, "127.0.0.3")):
            with names.bound(sock, address, 53):
                if kind == socket.SOCK_STREAM:
                    sock.listen()
            assert held.hold("c", dns) == ""
        for address in ("0.0.0.0", "127.0.0.2", "127.0.0.4"):
            with socket.socket(socket.AF_INET, kind) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind((address, 53))
        assert held.hold("d", binding(53, "127.0.0.2", dns.proto)) != ""
        held.release("c")
        held.release("d")
