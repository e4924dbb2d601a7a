"""The network core: networks, cables, published ports.  The handlers decide when; this does it, and can undo it.

    ensure / remove     what a network is made of
    plug / unplug       a container's cable, inside addresses and port elements
    restore, heal       bring back what should be there
    expected, observe   what there should be, and what there is

What a network and a cable are made of is its driver's (driver.py); all that is the same for every kind of network is here:
published ports, flows, locks, the undoing.  Everything that is made follows from the records (names, tags, elements), so
that each step can be repeated after a crash, and unplugging needs nothing but the row.  Links and elements are made side by
side.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

import anyio
from msgspec.structs import replace

from hawse.supervisor.core.errors import Bug, HawseError
from hawse.supervisor.core.model import Container, Endpoint, EndpointRequest, Network, Obstacle, PortBinding
from hawse.supervisor.linux import sysctl, threads
from hawse.supervisor.linux.device import Link
from hawse.supervisor.network import elements, names, obstacles
from hawse.supervisor.network.driver import Driver, Drivers, Edges, Expected, Traits
from hawse.supervisor.network.elements import Element
from hawse.supervisor.network.firewall import Firewall
from hawse.supervisor.network.flows import Flows
from hawse.supervisor.network.links import Links
from hawse.supervisor.network.observed import Observed, ObservedLink
from hawse.supervisor.network.subnets import LiveRoute
from hawse.supervisor.network.teardown import Teardown, first, undone

GRACE: Final = 0.15  # seconds that a dying network namespace gets to take its veth with it
MAIN_TABLE: Final = 254  # RT_TABLE_MAIN


class NetworkCore:
    """Works in the network namespace in which `start` is called.

    `own_table` None owns the nftables table where the kernel can; False leaves it open to other programs.
    """

    def __init__(
        self,
        *,
        instance: str,
        table: str,
        tag: str,
        drivers: Callable[[Edges], Drivers],
        own_table: bool | None = None,
    ) -> None:
        self._instance, self._mark = instance, tag
        self._links = Links()
        self._firewall = Firewall(table, own=own_table)
        self._flows = Flows()
        self._drivers = drivers(Edges(links=self._links, firewall=self._firewall, mark=tag))
        self._made: dict[str, int] = {}  # network → index of the device that its driver made or found right
        self._locks: dict[str, anyio.Lock] = {}

    async def start(self) -> None:
        """Open the kernel's doors and adopt the table that an earlier daemon left.  Raises Unavailable, KernelError."""
        await self._links.start()
        self._flows.start()
        await self._firewall.start()

    async def close(self) -> None:
        """Links, table and elements stay."""
        await self._firewall.close()
        self._flows.close()
        await self._links.close()

    @property
    def firewall_mode(self) -> str:
        """owner: other programs cannot change our table.  watch: they can."""
        return self._firewall.mode

    # Trials, for who asks whether this machine can do it.

    async def rehearse_cable(self, netlink: socket.socket, pid: int) -> None:
        """Inside of a network namespace that is to end soon, `netlink` and `pid` as for `plug`.  Raises KernelError."""
        await self._links.rehearse(netlink, pid)

    async def rehearse_rules(self) -> bool:
        """Tell whether the table would be ours alone.  Raises KernelError when the kernel does not take the rules."""
        return await self._firewall.rehearse()

    # Networks.

    async def driver(self, name: str) -> Driver:
        """By name.  Raises NotFound, Unavailable.  Looking what is installed takes a while: not in the event loop."""
        if not self._drivers.is_known(name):
            await threads.run_sync(self._drivers.find, name)
        return self._drivers.find(name)

    def traits(self, network: Network) -> Traits:
        """Return what its driver can do.  Raises NotFound, Unavailable."""
        return self._drivers.find(network.driver).traits

    def is_routed(self, network: Network) -> bool:
        """Tell whether its ports can be published, as far as its driver can be had."""
        return not self.expected(network).problem and self.traits(network).routed

    def expected(self, network: Network) -> Expected:
        """Return what has to be there for it.  Where its driver cannot be had, that is its `problem`."""
        try:
            return self._drivers.find(network.driver).expected(network)
        except HawseError as e:
            return Expected(problem=str(e))

    async def ensure(self, network: Network) -> None:
        """All that the network is made of is there and right.  Cheap when it is.

        Raises Conflict when a foreign device has the name of its device; what was begun is undone.
        """
        if not network.device or self._made.get(network.name, -1) != _index(network.device):
            await self.mend(network)

    async def mend(self, network: Network) -> None:
        """`ensure`, whatever it looks like: all that is expected is made right."""
        async with self._locks.setdefault(network.name, anyio.Lock()):
            await self._drivers.find(network.driver).ensure(network)
            self._made[network.name] = _index(network.device)

    async def remove(self, network: Network) -> None:
        """Remove what the network is made of, and stale cables of ours that are still on it; without networks, the table.

        The caller has seen that no container is plugged in.  Gone is success; a foreign device stays.  Raises TeardownError.
        """
        async with self._locks.setdefault(network.name, anyio.Lock()):
            self._made.pop(network.name, None)
            await self._drivers.find(network.driver).remove(network)
        self._locks.pop(network.name, None)

    async def live_routes(self) -> list[LiveRoute]:
        """Return where the host's IPv4 packets go now, loopback and defaults left out."""
        devices = {link.index: link.name for link in await self._links.all()}
        return [
            LiveRoute(route.network, devices.get(route.index, ""))
            for route in await self._links.routes()
            if route.kind in (1, 2) and route.network.prefixlen and not route.network.is_loopback  # unicast, local
        ]

    async def obstacles(self, networks: Sequence[Network]) -> dict[str, tuple[Obstacle, ...]]:
        """By network, what other programs' rules keep from working.  Raises KernelError, OSError."""
        routes = [route for route in await self._links.routes() if not route.network.prefixlen and route.kind == 1]
        devices = {link.index: link.name for link in await self._links.all()}
        uplink = next((devices.get(route.index, "") for route in routes), "")
        routed = [network for network in networks if self.is_routed(network)]
        return await threads.run_sync(obstacles.find, routed, self._firewall.table, uplink)

    async def devices(self) -> set[str]:
        """The names that devices of this host have now."""
        return {link.name for link in await self._links.all()}

    # Endpoints.

    async def plug(
        self, network: Network, endpoint: Endpoint, netlink: socket.socket, pid: int, took: dict[str, int] | None = None
    ) -> Endpoint:
        """Lay the container's cable and publish its ports.

        `netlink` is a NETLINK_ROUTE socket of the container's network namespace, `pid` a process in it.  `took` is told the
        microseconds of `veth` and `rules`, which are side by side.  Raises Conflict, KernelError, with everything undone.
        """
        took = {} if took is None else took
        endpoint = replace(
            endpoint,
            mac=endpoint.mac or names.mac(endpoint.address),
            veth=endpoint.veth or names.veth(endpoint.container_id, network.name, self._instance),
        )
        driver = self._drivers.find(network.driver)
        try:
            if endpoint.ports:
                async with anyio.create_task_group() as group:
                    group.start_soon(_timed, took, "rules", self.publish(endpoint))
                    await _timed(took, "veth", driver.plug(network, endpoint, netlink, pid))
            else:
                await _timed(took, "veth", driver.plug(network, endpoint, netlink, pid))
        except BaseException as e:
            what = f"plug into {network.name} and undo it"
            if both := await undone(e, what, self.unplug, network, endpoint, grace=0):
                raise both from e
            raise first(e) from None
        return endpoint

    async def raise_loopback(self, netlink: socket.socket) -> None:
        """127.0.0.1 of a container that is plugged into nothing; `plug` does it for the others."""
        await self._links.raise_loopback(netlink)

    async def lead(self, network: Network, endpoint: Endpoint, netlink: socket.socket) -> None:
        """Make its way out the container's default route, unless there is one; `netlink` as for `plug`."""
        if endpoint.gateway is not None and not network.internal:
            await self._links.lead(endpoint.ifname, endpoint.gateway, netlink)

    async def unplug(self, network: Network, endpoint: Endpoint, *, grace: float = GRACE) -> None:
        """Port elements, then the cable, and the kernel has said that it is gone.  Gone already is success.

        `grace` is how long a dying namespace may take to pull the cable itself; 0 for one that lives on.  Raises
        TeardownError; what did not fail is done.
        """
        teardown = Teardown(f"unplug {endpoint.container_id[:12]} from {network.name}")
        await teardown.step(self.unpublish, endpoint)
        async with anyio.create_task_group() as group:
            group.start_soon(teardown.step, self._flows.forget_address, endpoint.address)
            await teardown.step(self._pull, network, endpoint, grace)
        teardown.end()

    async def publish(self, endpoint: Endpoint) -> None:
        """Let its ports lead to it.  Raises KernelError."""
        if endpoint.ports:
            await self._firewall.put(elements.of_endpoint(endpoint, self._mark))
            # A client that has been sending to the port keeps the flow that it got before; tcp clients begin anew.
            await self._flows.forget_ports({(p.proto, p.host_port) for p in endpoint.ports if p.proto == "udp"})

    async def unpublish(self, endpoint: Endpoint) -> None:
        """Take away the elements of its published ports, but not those that lead to another container by now."""
        if endpoint.ports:
            await self._firewall.remove(elements.of_endpoint(endpoint, self._mark))

    async def attach(self, network: Network, endpoint: Endpoint) -> None:
        """Put the host's end of a cable right.  Raises KernelError when the cable is gone."""
        await self._drivers.find(network.driver).attach(network, endpoint)

    async def _pull(self, network: Network, endpoint: Endpoint, grace: float) -> None:
        await self._drivers.find(network.driver).unplug(network, endpoint, grace)

    # Repairs.

    async def delete_link(self, name: str) -> None:
        """A device of ours that belongs to nobody.  Gone is success."""
        await self._links.delete(name)

    def unknown(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Return those of which something is published that this process has not put into the table."""
        return [e for e in endpoints if not all(map(self._firewall.has, elements.of_endpoint(e, self._mark)))]

    async def restore(self, endpoints: Iterable[Endpoint]) -> list[Element]:
        """After a restart: what these endpoints publish is in the table; one look if it is.  What was missing."""
        wanted = [element for endpoint in endpoints for element in elements.of_endpoint(endpoint, self._mark)]
        missing = [element for element in wanted if not self._firewall.has(element)]
        await self._firewall.put(missing)
        return missing

    async def heal(self) -> list[Element]:
        """Table, chains and elements are what they should be.  What was missing."""
        return await self._firewall.heal()

    async def discard(self, stale: Collection[Element]) -> None:
        """Delete elements that nobody should have, whether this process made them or not."""
        await self._firewall.remove(stale)
        await self._firewall.heal(stale)

    async def observe(self, networks: Iterable[Network]) -> Observed:
        """Return what the kernel has of ours, and the settings that these networks need."""
        links = await self._links.all()
        by_index = {link.index: link.name for link in links}
        addresses: dict[int, tuple[IPv4Interface, ...]] = {}
        for index, address in await self._links.addresses():
            addresses[index] = (*addresses.get(index, ()), address)
        routes: dict[int, set[IPv4Network]] = {}
        for route in await self._links.routes():
            if route.table == MAIN_TABLE:
                routes.setdefault(route.index, set()).add(route.network)
        ours = {
            link.name: ObservedLink(
                link=link,
                owner=names.owner(link.alias, self._mark),
                master=by_index.get(link.master, ""),
                addresses=addresses.get(link.index, ()),
                routes=frozenset(routes.get(link.index, ())),
            )
            for link in links
            if names.owner(link.alias, self._mark) or self._is_half_made(link)
        }
        expected = [device for network in networks for device in self.expected(network).devices]
        return Observed(
            links=ours,
            elements=tuple(await self._firewall.present()),
            table_intact=await self._firewall.is_intact(),
            firewall_mode=self._firewall.mode,
            sysctls={name: sysctl.read(*name.split("/")) for device in expected for name in device.settings},
        )

    def _is_half_made(self, link: Link) -> bool:
        return link.kind == "veth" and not link.alias and names.is_veth(link.name, self._instance)


async def _timed(took: dict[str, int], stage: str, work: Awaitable[None]) -> None:
    begun = time.perf_counter_ns()
    await work
    took[stage] = took.get(stage, 0) + (time.perf_counter_ns() - begun) // 1000


def plan_endpoint(
    network: Network,
    container: Container,
    address: IPv4Address,
    *,
    index: int,
    ports: tuple[PortBinding, ...],
    request: EndpointRequest,
    instance: str,
) -> Endpoint:
    """The endpoint that a container will have on a network: its `index`-th.  Pure; an internal network publishes nothing."""
    if network.subnet is None:
        raise Bug(f"network {network.name} has no subnet to plug into")
    return Endpoint(
        container_id=container.id,
        network=network.name,
        address=address,
        prefix=network.subnet.prefixlen,
        mac=request.mac or names.mac(address),
        gateway=None if network.internal else network.gateway,
        veth=names.veth(container.id, network.name, instance),
        ifname=f"eth{index}",
        ports=() if network.internal else ports,
        aliases=request.aliases,
    )


def _index(name: str) -> int:
    """0 without such a device."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
