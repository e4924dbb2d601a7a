"""What our own netlink encoder made, read back by pyroute2, which shares no line with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyroute2 import IPRoute

from hawse.supervisor.linux.rtnetlink import DEVICE_GROUP
from tests.netns.conftest import Machine, World


@pytest.fixture(params=["watch"])
def own_table() -> bool | None:
    """The table's kind does not matter here."""
    return None


def read(machine: Machine) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Links and addresses by the name of their device, and the routes of the main table.

    In a thread of its own, which begins in the namespace of its maker: pyroute2 runs an event loop.
    """

    def ask() -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
        with IPRoute() as kernel:
            links = {link.get("ifname"): link for link in kernel.get_links()}
            addresses = {address.get("label"): address for address in kernel.get_addr(family=2)}
            return links, addresses, list(kernel.get_routes(family=2, table=254))

    with machine.entered(), ThreadPoolExecutor(1) as own_thread:
        return own_thread.submit(ask).result()


async def test_a_bridge_and_both_ends_of_a_cable(world: World) -> None:
    network = world.network("testbr", "10.10.10.0/24", **{"com.docker.network.driver.mtu": "1400"})
    guest, endpoint = await world.plug(network, "10.10.10.2")

    links, addresses, _ = read(world.host)
    bridge, cable = links["testbr"], links[endpoint.veth]
    assert bridge.get(("linkinfo", "kind")) == "bridge" and cable.get(("linkinfo", "kind")) == "veth"
    assert (bridge.get("mtu"), cable.get("mtu")) == (1400, 1400)
    assert (bridge.get("group"), cable.get("group")) == (DEVICE_GROUP, DEVICE_GROUP)
    assert (bridge.get("ifalias"), cable.get("ifalias")) == ("hawse::testbr", f"hawse:{guest.id}:testbr")
    assert cable.get("master") == bridge["index"]
    assert (addresses["testbr"].get("address"), addresses["testbr"]["prefixlen"]) == ("10.10.10.1", 24)

    links, addresses, routes = read(guest)
    inside = links["eth0"]
    assert inside.get("address") == endpoint.mac and inside.get("link") == cable["index"]
    assert cable.get("link") == inside["index"]
    assert (addresses["eth0"].get("address"), addresses["eth0"]["prefixlen"]) == ("10.10.10.2", 24)
    assert addresses["eth0"].get("broadcast") == "10.10.10.255"
    assert [(route.get("gateway"), route.get("oif")) for route in routes if route["dst_len"] == 0] == [
        ("10.10.10.1", inside["index"])
    ]
