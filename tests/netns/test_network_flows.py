"""The kernel's flow table, and who has a port of the host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

import pytest

from hawse.supervisor.errors import UserError
from hawse.supervisor.linux import listeners
from hawse.supervisor.linux.conntrack import MANY, Conntrack
from hawse.supervisor.model import PortBinding
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


def test_who_listens_is_named(host: Machine) -> None:
    host.listen(8080)
    host.listen(8081, "127.0.0.1")
    host.listen(5353, kind=socket.SOCK_DGRAM)
    with host.entered():
        assert "(pid " in listeners.holder(binding(8080))
        assert "process " in listeners.holder(binding(8080, "127.0.0.1")), "every address includes this one"
        assert "process " in listeners.holder(binding(8081)), "and the other way round"
        assert "process " in listeners.holder(binding(5353, proto="udp"))
        assert listeners.holder(binding(5353)) == ""
        assert listeners.holder(binding(8082)) == ""
        assert listeners.holder(binding(8080, proto="sctp")) == ""


def test_a_connection_that_just_ended_does_not_hold_its_port(host: Machine) -> None:
    server = host.listen(8080)
    client = host.connect("127.0.0.1", 8080)
    accepted, _ = server.accept()
    accepted.close()  # first, so that the port waits in TIME_WAIT here
    client.close()
    server.close()
    assert listeners.holder(binding(8080)) == ""


def test_an_address_that_the_host_has_not(host: Machine) -> None:
    with pytest.raises(UserError, match="cannot assign requested address"):
        listeners.holder(binding(8080, "203.0.113.9"))
