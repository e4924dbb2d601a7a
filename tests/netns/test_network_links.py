"""Bridges and cables: made once, tagged, undone when something fails, gone when they should be."""

from __future__ import annotations

import errno
from functools import partial
from ipaddress import IPv4Address

import anyio
import pytest

from hawse.cli.selftest.waiting import eventually
from hawse.supervisor.core.errors import Conflict, HawseError, KernelError
from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.linux.nft import Nft
from hawse.supervisor.linux.rtnetlink import DEVICE_GROUP
from hawse.supervisor.network import names
from hawse.supervisor.network.flows import Flows
from tests.netns.conftest import HOST, World

WEB = PortBinding(container_port=80, host_port=8080)


@pytest.fixture(params=["watch"])
def own_table() -> bool | None:
    """The table's kind does not matter here."""
    return None


def links(world: World) -> dict[str, str]:
    """Name → what `ip` shows of it, without the ones that were there before us."""
    shown = world.host.run("ip", "-o", "-d", "link").splitlines()
    found = {line.split()[1].rstrip(":").partition("@")[0]: line for line in shown}
    return {name: line for name, line in found.items() if name not in ("lo", "cli0")}


async def test_a_bridge_is_named_tagged_addressed_and_quiet(world: World) -> None:
    network = world.network()
    await world.core.ensure(network)
    (line,) = links(world).values()
    assert "testbr:" in line and "alias hawse::testbr" in line and "UP" in line and f" group {DEVICE_GROUP} " in line
    assert "stp_state 0" in line and "forward_delay 0 " in line
    assert "10.10.10.1/24" in world.host.run("ip", "addr", "show", "testbr")
    assert "inet6" not in world.host.run("ip", "addr", "show", "testbr")
    for setting, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/testbr/route_localnet", "1"),
        ("ipv6/conf/testbr/accept_ra", "0"),
    ):
        assert world.host.run("cat", f"/proc/sys/net/{setting}").strip() == value
    before = world.host.run("ip", "-o", "addr")
    await world.core.ensure(network)
    assert world.host.run("ip", "-o", "addr") == before


async def test_ensure_makes_a_deleted_bridge_again(world: World) -> None:
    network = world.network()
    await world.core.ensure(network)
    world.host.run("ip", "link", "del", "testbr")
    await world.core.ensure(network)
    assert "10.10.10.1/24" in world.host.run("ip", "addr", "show", "testbr")


async def test_a_foreign_device_is_refused_and_stays(world: World) -> None:
    world.host.run("ip", "link", "add", "testbr", "type", "bridge")
    with pytest.raises(Conflict, match="testbr exists already"):
        await world.core.ensure(world.network())
    await world.core.remove(world.network())
    assert "testbr" in links(world)
    assert world.host.run("nft", "list", "ruleset") == ""


async def test_a_bridge_that_cannot_be_finished_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise KernelError("add address", errno.ENOMEM)

    monkeypatch.setattr(world.core._links, "raise_bridge", refuse)
    with pytest.raises(KernelError):
        await world.core.ensure(world.network())
    assert links(world) == {}
    assert world.host.run("nft", "list", "ruleset") == ""


async def test_the_inside_of_a_cable(world: World) -> None:
    guest, endpoint = await world.plug(world.network("testbr", "10.10.10.0/24"), "10.10.10.2")
    assert "UP" in guest.ip("link", "show", "lo")
    eventually(lambda: "state UP" in guest.ip("link", "show", "eth0"))  # by a thread of the kernel
    shown = guest.ip("-d", "addr", "show", "eth0")
    assert "10.10.10.2/24 brd 10.10.10.255" in shown and "02:42:0a:0a:0a:02" in shown
    assert "inet6" not in shown
    assert guest.ip("route").startswith("default via 10.10.10.1 dev eth0")
    line = links(world)[endpoint.veth]
    assert f"alias hawse:{guest.id}:testbr" in line and "master testbr" in line and f" group {DEVICE_GROUP} " in line
    assert endpoint.mac == "02:42:0a:0a:0a:02" and len(endpoint.veth) <= 15


async def test_loopback_alone(world: World) -> None:
    guest = world.guest()
    guest.ip("link", "set", "lo", "down")
    await world.core.raise_loopback(guest.netlink)
    assert "UP" in guest.ip("link", "show", "lo")


async def test_two_networks_and_a_bigger_mtu(world: World) -> None:
    one = world.network("one", "10.10.10.0/24", **{"com.docker.network.driver.mtu": "9000"})
    two = world.network("two", "10.10.11.0/24")
    guest, _ = await world.plug(one, "10.10.10.2")
    await world.core.ensure(two)
    await world.core.plug(two, world.endpoint(two, guest, "10.10.11.2", index=1), guest.netlink, guest.pid)
    assert "mtu 9000" in guest.ip("link", "show", "eth0") and "mtu 9000" in links(world)["one"]
    assert "mtu 1500" in guest.ip("link", "show", "eth1")
    assert guest.ip("route", "show", "default").count("default") == 1
    assert "via 10.10.10.1" in guest.ip("route", "show", "default")


async def test_a_dying_namespace_takes_its_cable_and_unplugging_waits_for_it(world: World) -> None:
    network = world.network()
    guest, endpoint = await world.plug(network, "10.10.10.2", WEB)
    guest.die()
    await world.core.unplug(network, endpoint, grace=5)
    assert endpoint.veth not in links(world)
    await world.core.unplug(network, endpoint)  # again: gone is success


async def test_a_namespace_that_lives_on_loses_its_cable(world: World) -> None:
    network = world.network()
    guest, endpoint = await world.plug(network, "10.10.10.2", WEB)
    await world.core.unplug(network, endpoint, grace=0)
    assert list(links(world)) == ["testbr"]
    assert "eth0" not in guest.ip("link")
    await world.core.plug(network, endpoint, guest.netlink, guest.pid)
    assert world.client.reaches(HOST, 8080, guest.listen(80))


async def test_the_cable_is_pulled_though_firewall_and_conntrack_fail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = world.network()
    _, endpoint = await world.plug(network, "10.10.10.2", WEB)

    async def fail(what: str, *_: object) -> None:
        raise KernelError(what, errno.EIO)

    with monkeypatch.context() as broken:
        broken.setattr(Nft, "run", staticmethod(partial(fail, "firewall")))
        broken.setattr(Flows, "forget_address", staticmethod(partial(fail, "conntrack")))
        with pytest.raises(ExceptionGroup) as failed:
            await world.core.unplug(network, endpoint, grace=0)
    assert [str(e).partition(":")[0] for e in failed.value.exceptions] == ["firewall", "conntrack"]
    assert isinstance(failed.value, HawseError), "who handles one of ours handles several"
    assert endpoint.veth not in links(world)
    assert world.elements(), "what failed is there for the next try"
    await world.core.unplug(network, endpoint, grace=0)
    assert not world.elements()


async def test_the_bridge_is_deleted_though_the_firewall_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    network = world.network()
    await world.core.ensure(network)

    async def fail(*_: object) -> None:
        raise KernelError("firewall", errno.EIO)

    with monkeypatch.context() as broken:
        broken.setattr(Nft, "run", fail)
        with pytest.raises(ExceptionGroup, match="firewall"):
            await world.core.remove(network)
    assert "testbr" not in links(world)
    await world.core.remove(network)
    assert "testbr" not in world.host.run("nft", "list", "ruleset")


async def test_a_foreign_device_with_a_cables_name_is_not_deleted(world: World) -> None:
    network = world.network()
    guest = world.guest()
    endpoint = world.endpoint(network, guest, "10.10.10.2")
    await world.core.ensure(network)
    world.host.run("ip", "link", "add", endpoint.veth, "type", "bridge")
    world.host.run("ip", "link", "set", endpoint.veth, "alias", "mine")
    with pytest.raises(Conflict, match=endpoint.veth):
        await world.core.plug(network, endpoint, guest.netlink, guest.pid)
    await world.core.unplug(network, endpoint)
    assert endpoint.veth in links(world)


async def test_a_cable_that_a_crash_left_is_replaced(world: World) -> None:
    """Its name follows from the record, so it is recognised, tagged or not yet."""
    network = world.network()
    await world.core.ensure(network)
    for alias in ("", names.tag("hawse", "testbr", f"{1:064x}")):
        guest = world.guest()
        endpoint = world.endpoint(network, guest, "10.10.10.2")
        world.host.run("ip", "link", "add", endpoint.veth, "type", "veth", "peer", "name", "left")
        if alias:
            world.host.run("ip", "link", "set", endpoint.veth, "alias", names.tag("hawse", "testbr", guest.id))
        await world.core.plug(network, endpoint, guest.netlink, guest.pid)
        assert "left" not in links(world)
        await world.core.unplug(network, endpoint, grace=0)


async def test_a_container_that_died_meanwhile_leaves_nothing(world: World) -> None:
    network = world.network()
    await world.core.ensure(network)
    guest = world.guest()
    endpoint = world.endpoint(network, guest, "10.10.10.2", WEB)
    pid = guest.pid
    guest._process.kill()
    guest._process.wait()
    with pytest.raises(KernelError):
        await world.core.plug(network, endpoint, guest.netlink, pid)
    assert list(links(world)) == ["testbr"]
    assert world.elements() == []


async def test_a_missing_bridge_fails_the_plugging_and_leaves_nothing(world: World) -> None:
    network = world.network()
    await world.core.ensure(network)
    world.host.run("ip", "link", "del", "testbr")
    guest = world.guest()
    with pytest.raises(KernelError, match="testbr"):
        await world.core.plug(network, world.endpoint(network, guest, "10.10.10.2", WEB), guest.netlink, guest.pid)
    assert links(world) == {} and world.elements() == []
    assert "eth0" not in guest.ip("link")


async def test_a_cancelled_plugging_leaves_nothing(world: World) -> None:
    network = world.network()
    await world.core.ensure(network)
    guest = world.guest()
    with anyio.move_on_after(0) as scope:
        await world.core.plug(network, world.endpoint(network, guest, "10.10.10.2", WEB), guest.netlink, guest.pid)
    assert scope.cancelled_caught
    assert list(links(world)) == ["testbr"] and world.elements() == []


async def test_removing_a_network_takes_stale_cables_but_no_foreign_port(world: World) -> None:
    network = world.network()
    guest, _ = await world.plug(network, "10.10.10.2", WEB)
    world.host.run("ip", "link", "add", "mine", "type", "veth", "peer", "name", "mine2")
    world.host.run("ip", "link", "set", "mine", "master", "testbr")
    await world.core.remove(network)
    assert sorted(links(world)) == ["mine", "mine2"]
    assert "eth0" not in guest.ip("link")
    await world.core.remove(network)  # gone is success


async def test_a_cable_pulled_from_its_bridge_is_attached_again(world: World) -> None:
    network = world.network()
    guest, endpoint = await world.plug(network, "10.10.10.2", WEB)
    world.host.run("ip", "link", "set", endpoint.veth, "down", "nomaster")
    await world.core.attach(network, endpoint)
    # The inner end hears of its carrier from a kernel thread, too; nobody can wait for that from outside.
    assert world.client.reaches(HOST, 8080, guest.listen(80))


async def test_a_hundred_that_live_on_are_deleted_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one this takes four seconds: every deletion waits for the kernel's grace periods."""
    deletions: list[int] = []
    links_, reap = world.core._links, world.core._links._reap

    def counted() -> None:
        deletions.append(len(links_._doomed))
        reap()

    network = world.network()
    await world.core.ensure(network)
    guest = world.guest()
    ends = []
    for n in range(100):
        end = world.endpoint(network, guest, str(IPv4Address("10.10.10.10") + n), index=n)
        ends.append(
            await world.core.plug(
                network,
                type(end)(**{f: getattr(end, f) for f in end.__struct_fields__} | {"veth": f"h-{n:012x}"}),
                guest.netlink,
                guest.pid,
            )
        )
    monkeypatch.setattr(links_, "_reap", counted)
    async with anyio.create_task_group() as group:
        for end in ends:
            group.start_soon(lambda e=end: world.core.unplug(network, e, grace=0))  # type: ignore[misc]
    assert sum(deletions) == 100 and len([size for size in deletions if size]) < 50
    assert list(links(world)) == ["testbr"]


async def test_observe_shows_what_is_ours_and_nothing_else(world: World) -> None:
    network = world.network()
    guest, endpoint = await world.plug(network, "10.10.10.2", WEB)
    world.host.run("ip", "link", "add", "mine", "type", "bridge")
    world.host.run("ip", "link", "add", "h-00000000dead", "type", "veth", "peer", "name", "peer")
    seen = await world.core.observe([network])
    assert set(seen.links) == {"testbr", endpoint.veth, "h-00000000dead"}
    assert seen.links[endpoint.veth].owner == (guest.id, "testbr")
    assert seen.links[endpoint.veth].master == "testbr" and seen.links[endpoint.veth].link.forwarding
    assert [str(a) for a in seen.links["testbr"].addresses] == ["10.10.10.1/24"]
    assert seen.links["h-00000000dead"].owner is None, "half made"
    assert {e.place for e in seen.elements} == {"bridges", "same", "sources", "resolvers", "publish_any"}
    assert seen.table_intact
    assert seen.sysctls == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/testbr/route_localnet": "1",
        "net/ipv6/conf/testbr/accept_ra": "0",
    }


async def test_live_routes_and_devices(world: World) -> None:
    world.host.run("ip", "route", "add", "10.99.0.0/16", "via", "192.0.2.2")
    world.host.run("ip", "route", "add", "10.98.0.0/16", "dev", "cli0", "table", "77")
    routes = {(str(r.network), r.device) for r in await world.core.live_routes()}
    assert {("192.0.2.0/24", "cli0"), ("10.99.0.0/16", "cli0"), ("10.98.0.0/16", "cli0")} <= routes
    assert not any(network.startswith(("127.", "0.0.0.0")) for network, _ in routes)
    assert await world.core.devices() == {"lo", "cli0"}
