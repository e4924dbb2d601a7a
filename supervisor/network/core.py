"""The network core: bridges, cables, published ports.  The handlers decide when; this does it, and can undo it.

    ensure / remove     a network's bridge, address, settings and set elements
    plug / unplug       a container's cable, inside addresses and port elements
    restore, heal       bring back what should be there
    observe             what there is

Everything it makes follows from the records (names, tags, elements), so that each step can be repeated after a crash, and
unplugging needs nothing but the row.  Links and elements are made side by side.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

import anyio
from msgspec.structs import replace

from hawse.supervisor.core.errors import Bug, UserError
from hawse.supervisor.core.model import Container, Endpoint, EndpointRequest, Network, Obstacle, PortBinding
from hawse.supervisor.linux import sysctl, threads
from hawse.supervisor.linux.device import Link
from hawse.supervisor.network import elements, names, obstacles
from hawse.supervisor.network.elements import Element
from hawse.supervisor.network.firewall import Firewall
from hawse.supervisor.network.flows import Flows
from hawse.supervisor.network.links import Cable, Links
from hawse.supervisor.network.observed import Observed, ObservedLink
from hawse.supervisor.network.subnets import LiveRoute
from hawse.supervisor.network.teardown import Teardown, first, undone

GRACE: Final = 0.15  # seconds that a dying network namespace gets to take its veth with it
MTU_OPTION: Final = "com.docker.network.driver.mtu"
DEFAULT_MTU: Final = 1500
MAIN_TABLE: Final = 254  # RT_TABLE_MAIN


class NetworkCore:
    """Works in the network namespace in which `start` is called.

    `own_table` None owns the nftables table where the kernel can; False leaves it open to other programs.
    """

    def __init__(self, *, instance: str, table: str, tag: str, own_table: bool | None = None) -> None:
        self._instance, self._mark = instance, tag
        self._links = Links()
        self._firewall = Firewall(table, own=own_table)
        self._flows = Flows()
        self._made: dict[str, int] = {}  # network → index of the bridge that `ensure` made or found right
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
        """Whether the table would be ours alone.  Raises KernelError when the kernel does not take the rules."""
        return await self._firewall.rehearse()

    # Networks.

    async def ensure(self, network: Network) -> None:
        """The network's bridge is there, addressed, up and known to the rules.  Cheap when it is.

        Raises Conflict when a foreign device has the bridge's name; what was begun is undone.
        """
        if network.bridge and self._made.get(network.name, -1) != _index(network.bridge):
            async with self._locks.setdefault(network.name, anyio.Lock()):
                await self._make(network)

    async def _make(self, network: Network) -> None:
        if network.gateway is None or network.subnet is None:
            raise Bug(f"network {network.name} has a bridge and no addresses")
        made = await self._links.make_bridge(
            network.bridge,
            alias=names.tag(self._mark, network.name),
            mac=names.mac(network.gateway),
            mtu=mtu(network),
        )
        try:
            for parts, value in _settings(network.bridge).items():
                sysctl.write(value, *parts, optional="ipv6" in parts)
            await self._firewall.put(elements.of_network(network, self._mark))
            await self._links.raise_bridge(network.bridge, IPv4Interface((network.gateway, network.subnet.prefixlen)))
        except BaseException as e:
            if made and (both := await undone(e, f"make {network.name} and undo it", self._unmake, network)):
                raise both from e
            raise
        self._made[network.name] = _index(network.bridge)

    async def remove(self, network: Network) -> None:
        """Elements, then the bridge with what stale cables of ours are still on it; without networks, the table.

        The caller has seen that no container is plugged in.  Gone is success; a foreign device stays.  Raises TeardownError.
        """
        async with self._locks.setdefault(network.name, anyio.Lock()):
            await self._unmake(network)
        self._locks.pop(network.name, None)

    async def _unmake(self, network: Network) -> None:
        self._made.pop(network.name, None)
        teardown = Teardown(f"remove network {network.name}")
        await teardown.step(self._firewall.remove, elements.of_network(network, self._mark))
        await teardown.step(self._delete_bridge, network)
        await teardown.step(self._firewall.drop_unused)
        teardown.end()

    async def _delete_bridge(self, network: Network) -> None:
        alias = names.tag(self._mark, network.name)
        links = await self._links.all() if network.bridge else []
        for bridge in links:
            if bridge.name == network.bridge and bridge.alias == alias:
                stale = [x.name for x in links if x.master == bridge.index and names.owner(x.alias, self._mark)]
                teardown = Teardown(f"delete device {bridge.name}")
                async with anyio.create_task_group() as group:
                    for name in (*stale, bridge.name):
                        group.start_soon(teardown.step, self._links.delete, name)
                teardown.end()

    async def live_routes(self) -> list[LiveRoute]:
        """Where the host's IPv4 packets go now, loopback and defaults left out."""
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
        return await threads.run_sync(obstacles.find, networks, self._firewall.table, uplink)

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
        cable = self._cable(network, endpoint)
        try:
            if endpoint.ports:
                async with anyio.create_task_group() as group:
                    group.start_soon(_timed, took, "rules", self.publish(endpoint))
                    await _timed(took, "veth", self._links.plug(cable, netlink, pid))
            else:
                await _timed(took, "veth", self._links.plug(cable, netlink, pid))
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
        """Its way out is the container's default route, unless there is one; `netlink` as for `plug`."""
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
            if endpoint.veth:
                alias = names.tag(self._mark, network.name, endpoint.container_id)
                await teardown.step(self._links.gone, endpoint.veth, alias, grace)
        teardown.end()

    async def publish(self, endpoint: Endpoint) -> None:
        """Its ports lead to it.  Raises KernelError."""
        if endpoint.ports:
            await self._firewall.put(elements.of_endpoint(endpoint, self._mark))
            # A client that has been sending to the port keeps the flow that it got before; tcp clients begin anew.
            await self._flows.forget_ports({(p.proto, p.host_port) for p in endpoint.ports if p.proto == "udp"})

    async def unpublish(self, endpoint: Endpoint) -> None:
        """They do not any more; elements that lead to somebody else by now stay."""
        if endpoint.ports:
            await self._firewall.remove(elements.of_endpoint(endpoint, self._mark))

    async def attach(self, network: Network, endpoint: Endpoint) -> None:
        """Bring the host's end of a cable back on its bridge and up.  Raises KernelError when the cable is gone."""
        await self._links.attach(self._cable(network, endpoint))

    def _cable(self, network: Network, endpoint: Endpoint) -> Cable:
        return Cable(
            name=endpoint.veth,
            alias=names.tag(self._mark, network.name, endpoint.container_id),
            bridge=network.bridge,
            mtu=mtu(network),
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            address=IPv4Interface((endpoint.address, endpoint.prefix)),
            gateway=None if network.internal else endpoint.gateway,
            # With br_netfilter a port that is translated to the sender itself stays on the bridge and goes back the same
            # way; without, the host routes it.
            hairpin=bool(endpoint.ports) and sysctl.read("net", "bridge", "bridge-nf-call-iptables") == "1",
        )

    # Repairs.

    async def mend(self, network: Network) -> None:
        """`ensure`, whatever it looks like: device, address, state, settings and set elements are made right."""
        if network.bridge:
            async with self._locks.setdefault(network.name, anyio.Lock()):
                await self._make(network)

    async def delete_link(self, name: str) -> None:
        """A device of ours that belongs to nobody.  Gone is success."""
        await self._links.delete(name)

    def unknown(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Those of which something is published that this process has not put into the table."""
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

    async def observe(self) -> Observed:
        """What the kernel has of ours."""
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
        settings = [parts for name, seen in ours.items() if seen.link.kind == "bridge" for parts in _settings(name)]
        return Observed(
            links=ours,
            elements=tuple(await self._firewall.present()),
            table_intact=await self._firewall.is_intact(),
            firewall_mode=self._firewall.mode,
            sysctls={".".join(parts): sysctl.read(*parts) for parts in settings},
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


def mtu(network: Network) -> int:
    """Of the bridge and its cables.  Raises UserError for an option that is not one."""
    given = network.options.get(MTU_OPTION, "")
    if not given:
        return DEFAULT_MTU
    if not given.isdecimal() or not 68 <= int(given) <= 65_535:
        raise UserError(f"invalid {MTU_OPTION}: {given}", hint="a number of bytes between 68 and 65535")
    return int(given)


def _settings(bridge: str) -> dict[tuple[str, ...], str]:
    """What a network needs of the kernel.  All but ip_forward go with the bridge.

    route_localnet lets 127.0.0.1 reach a published port; the rules keep containers from using it.  A container must not be
    able to configure the host by router advertisements (CVE-2020-13401).
    """
    return {
        ("net", "ipv4", "ip_forward"): "1",
        ("net", "ipv4", "conf", bridge, "route_localnet"): "1",
        ("net", "ipv6", "conf", bridge, "accept_ra"): "0",
    }


def _index(name: str) -> int:
    """0 without such a device."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
