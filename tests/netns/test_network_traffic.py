"""Who reaches whom, with real sockets: a client on a wire, the host, and containers on bridges."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hawse.supervisor.core.model import PortBinding
from tests.netns.conftest import BRIEFLY, CLIENT, HOST, Machine, World


def tcp(host_port: int, container_port: int, host_ip: str | None = None) -> PortBinding:
    return PortBinding(
        container_port=container_port, host_port=host_port, host_ip=IPv4Address(host_ip) if host_ip else None
    )


async def test_a_published_port_answers_everywhere(world: World) -> None:
    """From another host, by the host's address, by 127.0.0.1, from itself (hairpin), a neighbour, another network."""
    network, other = world.network(), world.network("other", "10.10.11.0/24")
    web, _ = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    neighbour, _ = await world.plug(network, "10.10.10.3")
    stranger, _ = await world.plug(other, "10.10.11.2")
    server = web.listen(80)
    assert world.client.reaches(HOST, 8080, server) == CLIENT, "the client's address is seen as it is"
    assert world.host.reaches(HOST, 8080, server)
    assert world.host.reaches("127.0.0.1", 8080, server)
    assert world.host.reaches("10.10.10.1", 8080, server)
    assert web.reaches(HOST, 8080, server)
    assert neighbour.reaches(HOST, 8080, server)
    assert stranger.reaches(HOST, 8080, server)


async def test_neighbours_reach_each_other_and_strangers_do_not(world: World) -> None:
    one, two = world.network("one", "10.10.10.0/24"), world.network("two", "10.10.11.0/24")
    server_guest, _ = await world.plug(one, "10.10.10.2")
    neighbour, _ = await world.plug(one, "10.10.10.3")
    stranger, _ = await world.plug(two, "10.10.11.2")
    server = server_guest.listen(80)
    assert neighbour.reaches("10.10.10.2", 80, server) == "10.10.10.3"
    assert not stranger.reaches("10.10.10.2", 80, server, BRIEFLY)
    assert not neighbour.reaches("10.10.11.2", 80, stranger.listen(80), BRIEFLY)


async def test_what_is_not_published_cannot_be_reached_from_outside(world: World) -> None:
    guest, _ = await world.plug(world.network(), "10.10.10.2", tcp(8080, 80))
    server, hidden = guest.listen(80), guest.listen(81)
    assert not world.client.reaches("10.10.10.2", 81, hidden, BRIEFLY)
    assert not world.client.reaches("10.10.10.2", 80, server, BRIEFLY), "nor past the published address"
    assert world.host.reaches("10.10.10.2", 81, hidden), "the host itself may"


async def test_containers_reach_out_as_the_host(world: World) -> None:
    guest, _ = await world.plug(world.network(), "10.10.10.2")
    assert guest.reaches(CLIENT, 9000, world.client.listen(9000)) == HOST


async def test_an_internal_network_reaches_nobody_and_nobody_it(world: World) -> None:
    inner, open_ = world.network("inner", "10.10.10.0/24", internal=True), world.network("open", "10.10.11.0/24")
    guest, _ = await world.plug(inner, "10.10.10.2")
    neighbour, _ = await world.plug(inner, "10.10.10.3")
    web, _ = await world.plug(open_, "10.10.11.2", tcp(8080, 80))
    server, outside = web.listen(80), world.client.listen(9000)
    assert neighbour.reaches("10.10.10.2", 80, guest.listen(80))
    guest.ip("route", "add", "default", "via", "10.10.10.1")  # it has none by itself
    assert not guest.reaches(CLIENT, 9000, outside, BRIEFLY)
    assert not guest.reaches("10.10.11.2", 80, server, BRIEFLY)
    assert not guest.reaches(HOST, 8080, server, BRIEFLY), "nor through a published port"


async def test_a_loopback_port_is_for_the_host_only(world: World) -> None:
    guest, _ = await world.plug(world.network(), "10.10.10.2", tcp(8081, 80, "127.0.0.1"))
    server = guest.listen(80)
    assert world.host.reaches("127.0.0.1", 8081, server)
    assert not world.client.reaches(HOST, 8081, server, BRIEFLY)
    world.host.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")  # as kube-proxy sets it
    world.client.ip("route", "add", "127.0.0.1", "via", HOST, "table", "10")
    world.client.ip("rule", "add", "from", CLIENT, "table", "10", "priority", "0")
    world.client.ip("rule", "del", "table", "local")
    world.client.ip("rule", "add", "table", "local", "priority", "5")
    bound = world.client.open()
    bound.settimeout(BRIEFLY)
    bound.bind((CLIENT, 0))
    with pytest.raises(OSError):
        bound.connect(("127.0.0.1", 8081))
    received = world.host.run("nft", "-j", "list", "ruleset")
    assert "8081" in received


async def test_a_container_does_not_reach_the_hosts_loopback(world: World) -> None:
    """The bridge has route_localnet, which alone would let it (CVE-2020-8558)."""
    guest, _ = await world.plug(world.network(), "10.10.10.2")
    secret = world.host.listen(9001, "127.0.0.1")
    guest.ip("link", "set", "lo", "down")
    guest.ip("route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local") if "127.0.0.0/8" in guest.ip(
        "route", "show", "table", "local"
    ) else ""
    guest.ip("route", "add", "127.0.0.0/8", "via", "10.10.10.1")
    guest.run("true")
    with guest.entered():
        guest.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    assert not guest.reaches("127.0.0.1", 9001, secret, BRIEFLY)


async def test_a_port_bound_to_one_address_answers_there_only(world: World) -> None:
    world.host.run("ip", "addr", "add", "192.0.2.10/24", "dev", "cli0")
    network = world.network()
    first, _ = await world.plug(network, "10.10.10.2", tcp(8082, 80, HOST))
    second, _ = await world.plug(network, "10.10.10.3", tcp(8082, 80, "192.0.2.10"))
    assert world.client.reaches(HOST, 8082, first.listen(80))
    assert world.client.reaches("192.0.2.10", 8082, second.listen(80))
    world.host.run("ip", "addr", "add", "192.0.2.11/24", "dev", "cli0")
    assert not world.client.reaches("192.0.2.11", 8082, first.listen(81), BRIEFLY)


@pytest.mark.parametrize("host_ip", [None, HOST])
async def test_a_range_of_equal_ports_is_one_element(world: World, host_ip: str | None) -> None:
    ports = [tcp(p, p, host_ip) for p in range(9000, 9100)]
    guest, _ = await world.plug(world.network(), "10.10.10.2", *ports)
    for port in (9000, 9057, 9099):
        assert world.client.reaches(HOST, port, guest.listen(port))
    assert not world.client.reaches(HOST, 9100, guest.listen(9100), BRIEFLY)
    assert sum("9000-9099" in line for line in world.elements()) == 1


async def test_a_shifted_range_maps_port_by_port(world: World) -> None:
    guest, _ = await world.plug(world.network(), "10.10.10.2", *(tcp(9000 + n, 7000 + n) for n in range(3)))
    for n in range(3):
        assert world.client.reaches(HOST, 9000 + n, guest.listen(7000 + n))


@pytest.mark.parametrize(("vantage", "address"), [("client", HOST), ("host", HOST), ("host", "127.0.0.1")])
async def test_udp_is_answered_from_the_address_that_was_asked(world: World, vantage: str, address: str) -> None:
    guest, _ = await world.plug(
        world.network(), "10.10.10.2", PortBinding(container_port=53, host_port=5353, proto="udp")
    )
    server = guest.listen(53, kind=socket.SOCK_DGRAM)
    machine: Machine = getattr(world, vantage)
    asking = machine.open(socket.SOCK_DGRAM)
    asking.sendto(b"question", (address, 5353))
    data, peer = server.recvfrom(100)
    server.sendto(b"answer", peer)
    assert (data, asking.recvfrom(100)) == (b"question", (b"answer", (address, 5353)))


async def test_a_udp_sender_that_never_stops_finds_the_next_container(world: World) -> None:
    """Its flow must be forgotten at both ends: before anybody listens, and when the container goes (moby#36069)."""
    network = world.network()
    port = PortBinding(container_port=53, host_port=5353, proto="udp")
    await world.core.ensure(network)
    sender = world.client.open(socket.SOCK_DGRAM)
    sender.sendto(b"nobody", (HOST, 5353))
    first, endpoint = await world.plug(network, "10.10.10.2", port)
    listening = first.listen(53, kind=socket.SOCK_DGRAM)
    sender.sendto(b"first", (HOST, 5353))
    assert listening.recv(100) == b"first"
    first.die()
    await world.core.unplug(network, endpoint)
    second, _ = await world.plug(network, "10.10.10.3", port)
    listening = second.listen(53, kind=socket.SOCK_DGRAM)
    sender.sendto(b"second", (HOST, 5353))
    assert listening.recv(100) == b"second"


@pytest.mark.parametrize("seen", ["0", "1"])
async def test_bridged_packets_pass_whether_netfilter_sees_them_or_not(world: World, seen: str) -> None:
    """With the module br_netfilter, bridged packets pass the chains of IP; docker and firewalls load it."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")  # of this namespace
    if not switch.exists():  # loading it here would change every bridge of the machine
        pytest.skip("the module br_netfilter is not loaded (modprobe br_netfilter)")
    switch.write_text(seen)
    network = world.network()
    web, _ = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    neighbour, _ = await world.plug(network, "10.10.10.3")
    server = web.listen(80)
    assert neighbour.reaches("10.10.10.2", 80, server) == "10.10.10.3"
    assert neighbour.reaches(HOST, 8080, server)
    assert web.reaches(HOST, 8080, server)
    assert world.client.reaches(HOST, 8080, server)
