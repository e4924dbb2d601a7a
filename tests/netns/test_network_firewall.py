"""The table: made when needed, kept over restarts, mended when somebody meddles, gone with the last network."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import anyio
import pytest

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.linux.nft import Nft
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.network.drivers.registry import Registry
from tests.netns.conftest import BRIEFLY, HOST, Machine, World

FOREIGN = "add table ip other\nadd chain ip other c\nadd rule ip other c counter\n"


def tcp(host_port: int, container_port: int) -> PortBinding:
    return PortBinding(container_port=container_port, host_port=host_port)


def udp(port: int) -> PortBinding:
    return PortBinding(container_port=port, host_port=port, proto="udp")


async def restarted(world: World, *meanwhile: str) -> None:
    """A new daemon after the old one: nothing but the kernel is left, where `meanwhile` was a command of nft."""
    await world.core.close()
    if meanwhile:
        world.host.run("nft", *meanwhile)
    world.core = NetworkCore(instance="", table="hawse", tag="hawse", own_table=world.own_table, drivers=Registry)
    await world.core.start()


def ruleset(world: World) -> str:
    return world.host.run("nft", "--handle", "list", "ruleset")


async def test_a_restart_changes_nothing_and_connections_stay(world: World) -> None:
    network = world.network()
    web, endpoint = await world.plug(network, "10.10.10.2", tcp(8080, 80), *(tcp(p, p) for p in range(9000, 9010)))
    server = web.listen(80)
    connection = world.client.connect(HOST, 8080)
    accepted, _ = server.accept()
    before = ruleset(world)
    await restarted(world)
    await world.core.ensure(network)
    assert await world.core.restore([endpoint]) == []
    assert ruleset(world).replace("# progname python", "") == before.replace("# progname python", "")
    with accepted:
        connection.sendall(b"still here")
        assert accepted.recv(100) == b"still here"
    assert world.client.reaches(HOST, 8080, server)


async def test_an_older_versions_chains_are_replaced_and_elements_kept(world: World) -> None:
    network = world.network()
    web, _ = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    server = web.listen(80)
    version = next(line.split()[1] for line in ruleset(world).splitlines() if "chain version_" in line)
    await restarted(
        world, f"delete chain inet hawse {version}; add chain inet hawse version_old; flush chain inet hawse forward"
    )
    assert version in ruleset(world) and "version_old" not in ruleset(world)
    assert world.client.reaches(HOST, 8080, server)
    assert not world.client.reaches("10.10.10.2", 80, server, BRIEFLY), "the forward chain has its rules again"


async def test_a_table_of_other_types_is_made_anew(world: World) -> None:
    """What an unknown version left cannot be kept; what memory holds is put in again."""
    network = world.network()
    world.host.run("nft", "add table inet hawse; add set inet hawse bridges { type ipv4_addr; }")
    await restarted(world)
    web, _ = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    assert world.client.reaches(HOST, 8080, web.listen(80))


async def test_foreign_tables_are_left_alone_and_a_flush_of_theirs_leaves_ours(world: World) -> None:
    world.host.run("nft", FOREIGN)
    foreign = world.host.run("nft", "list", "table", "ip", "other")
    network = world.network()
    web, endpoint = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    world.host.run("nft", "flush table ip other")
    assert world.client.reaches(HOST, 8080, web.listen(80))
    world.host.run("nft", FOREIGN)
    await world.core.unplug(network, endpoint, grace=0)
    await world.core.remove(network)
    assert world.host.run("nft", "list", "ruleset") == foreign


async def test_flush_ruleset(world: World) -> None:
    """An owned table is not touched; another one is healed: published, isolated, loopback protected as before."""
    network = world.network()
    web, _ = await world.plug(network, "10.10.10.2", tcp(8080, 80), *(tcp(p, p) for p in range(9000, 9010)))
    server = web.listen(80)
    world.host.run("nft", "flush ruleset")
    missing = await world.core.heal()
    if world.core.firewall_mode == "owner":
        assert missing == []
    else:
        assert {e.place for e in missing} == {"bridges", "same", "sources", "resolvers", "publish_any", "range_any"}
    assert world.client.reaches(HOST, 8080, server)
    assert world.client.reaches(HOST, 9005, web.listen(9005))
    assert not world.client.reaches("10.10.10.2", 80, server, BRIEFLY)


async def test_after_a_flush_plugging_and_unplugging_mend_by_themselves(world: World) -> None:
    network = world.network()
    first, endpoint = await world.plug(network, "10.10.10.2", tcp(8080, 80))
    world.host.run("nft", "flush ruleset")
    second, _ = await world.plug(network, "10.10.10.3", tcp(8081, 80))
    assert world.client.reaches(HOST, 8080, first.listen(80))
    assert world.client.reaches(HOST, 8081, second.listen(80))
    world.host.run("nft", "flush ruleset")
    await world.core.unplug(network, endpoint, grace=0)
    assert await world.core.heal() == []
    assert not any("8080" in line for line in world.elements())
    assert any("8081" in line for line in world.elements())


@pytest.mark.parametrize("own_table", ["watch"], indirect=True)
async def test_one_deleted_element_is_missed_and_put_back(world: World) -> None:
    network = world.network()
    _, endpoint = await world.plug(network, "10.10.10.2", tcp(8080, 80), tcp(8081, 81))
    world.host.run("nft", "delete element inet hawse publish_any { tcp . 8080 }")
    assert [e.key for e in await world.core.heal()] == [("tcp", "8080")]
    world.host.run("nft", "delete element inet hawse publish_any { tcp . 8080 }")
    await world.core.unplug(network, endpoint)
    assert world.elements() == [], "unplugging deletes what is there and does not mind what is not"


@pytest.mark.parametrize("own_table", ["owner"], indirect=True)
async def test_an_owned_table_cannot_be_touched_by_others(world: World) -> None:
    await world.plug(world.network(), "10.10.10.2", tcp(8080, 80))
    if world.core.firewall_mode != "owner":
        pytest.skip("this kernel has no owned tables (Linux 6.9)")
    for command in ("delete table inet hawse", "flush chain inet hawse forward", "flush map inet hawse publish_any"):
        with pytest.raises(Exception, match="exit status 1"):
            world.host.run("nft", command)
    rival = NetworkCore(instance="", table="hawse", tag="hawse", drivers=Registry)
    with pytest.raises(KernelError, match="another daemon"):
        await rival.start()
    await rival.close()


@pytest.mark.parametrize("own_table", ["owner"], indirect=True)
async def test_a_rehearsal_leaves_no_table(world: World) -> None:
    """Not even what an earlier build left, which was killed between making it its own and taking it away."""
    earlier = Nft()
    await earlier.open()
    owned = await earlier.claim("hawse_trial")
    await earlier.close()
    assert await world.core.rehearse_rules() is owned
    assert "hawse_trial" not in world.host.run("nft", "list tables")


async def test_ports_of_a_container_that_is_just_ending_go_to_the_next(world: World) -> None:
    """The store gives ports away at the exit, before the cable is out; whoever comes late must not take them back."""
    network = world.network()
    old, old_endpoint = await world.plug(network, "10.10.10.2", tcp(8080, 80), tcp(9003, 9003))
    new, _ = await world.plug(network, "10.10.10.3", *(tcp(p, p) for p in range(9000, 9010)), tcp(8080, 80))
    servers = {8080: new.listen(80), 9003: new.listen(9003), 9005: new.listen(9005)}
    for port, server in servers.items():
        assert world.client.reaches(HOST, port, server)
    old.die()
    await world.core.unplug(network, old_endpoint)
    for port, server in servers.items():
        assert world.client.reaches(HOST, port, server)
    assert not any("10.10.10.2" in line for line in world.elements())


async def test_ports_that_a_crash_left_behind_are_taken_over(world: World) -> None:
    network = world.network()
    await world.plug(network, "10.10.10.2", *(tcp(p, p) for p in range(9000, 9010)))
    await restarted(world)
    new, _ = await world.plug(network, "10.10.10.3", tcp(9004, 80))
    assert world.client.reaches(HOST, 9004, new.listen(80))
    assert not any("9000-9009" in line for line in world.elements())


async def test_many_containers_at_once(world: World) -> None:
    """Transactions that are committed together succeed or fail each for itself."""
    network = world.network()
    await world.core.ensure(network)
    guests = [world.guest() for _ in range(20)]
    ends = [
        world.endpoint(network, guest, str(IPv4Address("10.10.10.10") + n), tcp(8000 + n, 80), udp(8000 + n))
        for n, guest in enumerate(guests)
    ]
    async with anyio.create_task_group() as group:
        for guest, end in zip(guests, ends, strict=True):
            group.start_soon(world.core.plug, network, end, guest.netlink, guest.pid)
    assert len(world.elements()) == 40
    assert world.client.reaches(HOST, 8019, guests[19].listen(80))
    async with anyio.create_task_group() as group:
        for guest, end in zip(guests, ends, strict=True):
            guest.die()
            group.start_soon(world.core.unplug, network, end)
    assert world.elements() == []
    assert "h-" not in world.host.run("ip", "-br", "link")


async def test_without_networks_the_ruleset_is_as_before_us(world: World) -> None:
    assert world.host.run("nft", "list", "ruleset") == ""
    one, two = world.network("one", "10.10.10.0/24"), world.network("two", "10.10.11.0/24")
    await world.core.ensure(one)
    await world.core.ensure(two)
    await world.core.remove(one)
    assert "10.10.11.0/24" in ruleset(world)
    await world.core.remove(two)
    assert world.host.run("nft", "list", "ruleset") == ""
    await world.core.ensure(one)
    web, _ = await world.plug(one, "10.10.10.2", tcp(8080, 80))
    assert world.client.reaches(HOST, 8080, web.listen(80))


async def test_two_daemons_side_by_side(world: World) -> None:
    other = NetworkCore(instance="b", table="hawse_b", tag="hawse_b", own_table=world.own_table, drivers=Registry)
    await other.start()
    try:
        network = world.network()
        second = world.network("second", "10.10.20.0/24")
        await other.ensure(second)
        guest = world.guest()
        end = world.endpoint(second, guest, "10.10.20.2", tcp(8081, 80))
        await other.plug(second, end, guest.netlink, guest.pid)
        await world.plug(network, "10.10.10.2", tcp(8080, 80))
        server = guest.listen(80)
        assert world.client.reaches(HOST, 8081, server)
        await world.core.remove(network)
        assert world.client.reaches(HOST, 8081, server)
        assert "hawse_b" in ruleset(world) and "table inet hawse {" not in ruleset(world)
    finally:
        await other.close()


async def test_sctp_is_accepted(world: World, host: Machine) -> None:
    network = world.network()
    await world.plug(network, "10.10.10.2", PortBinding(container_port=80, host_port=8080, proto="sctp"))
    assert any("sctp . 8080" in line for line in ruleset(world).splitlines())
    await restarted(world)
    assert await world.core.heal() == []


async def test_a_port_of_the_host_stays_its_own(world: World) -> None:
    """Another protocol or port than the published one is not touched."""
    await world.plug(world.network(), "10.10.10.2", tcp(8080, 80))
    assert world.client.reaches(HOST, 8081, world.host.listen(8081))
    answering = world.host.listen(8080, kind=socket.SOCK_DGRAM)
    world.client.open(socket.SOCK_DGRAM).sendto(b"udp", (HOST, 8080))
    assert answering.recv(10) == b"udp"
