"""The driver `bridge`: a bridge with the gateway's address, and a veth from it to each container.

The rules of our nftables table apply to it by the elements that it puts there; what those do is network/ruleset.py.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Interface, IPv4Network
from typing import Final

import anyio

from hawse.supervisor.core.errors import Bug, UserError
from hawse.supervisor.core.model import Endpoint, Network
from hawse.supervisor.linux import sysctl
from hawse.supervisor.network import elements, names, subnets
from hawse.supervisor.network.driver import Device, Edges, Expected, Spec, Surroundings, Traits
from hawse.supervisor.network.links import Cable
from hawse.supervisor.network.teardown import Teardown, undone

MTU_OPTION: Final = "com.docker.network.driver.mtu"
DEFAULT_MTU: Final = 1500


class Bridge:
    traits = Traits(routed=True)

    def __init__(self, edges: Edges) -> None:
        self._links, self._firewall, self._mark = edges.links, edges.firewall, edges.mark

    def validate(self, spec: Spec, host: Surroundings) -> Network:
        """With the subnet that is asked for, or the first free one of the pools."""
        used: dict[str, IPv4Network] = {n.name: n.subnet for n in host.networks if n.subnet}
        if spec.subnet:
            subnet, gateway = subnets.parse(spec.subnet, spec.gateway)
            subnets.check_free(subnet, host.routes, used)
        else:
            subnet = subnets.choose(host.pools, host.routes, used)
            gateway = subnets.check_gateway(subnet, spec.gateway) if spec.gateway else next(subnet.hosts())
        network = Network(
            id=spec.id,
            name=spec.name,
            driver="bridge",
            created_at=spec.created_at,
            subnet=subnet,
            gateway=gateway,
            ip_range=subnets.check_range(subnet, spec.ip_range) if spec.ip_range else None,
            device=names.bridge(spec.name, host.instance, {n.device for n in host.networks}),
            internal=spec.internal,
            labels=dict(spec.labels),
            options=dict(spec.options),
        )
        _mtu(network)
        return network

    def expected(self, network: Network) -> Expected:
        device = Device(
            name=network.device,
            what="bridge",
            address=_address(network),
            route=network.subnet,
            settings=_settings(network.device),
        )
        return Expected(devices=(device,), elements=elements.of_network(network, self._mark), master=network.device)

    async def ensure(self, network: Network) -> None:
        address = _address(network)
        made = await self._links.make_bridge(
            network.device,
            alias=names.tag(self._mark, network.name),
            mac=names.mac(address.ip),
            mtu=_mtu(network),
        )
        try:
            for path, value in _settings(network.device).items():
                parts = path.split("/")
                sysctl.write(value, *parts, optional="ipv6" in parts)
            await self._firewall.put(elements.of_network(network, self._mark))
            await self._links.raise_bridge(network.device, address)
        except BaseException as e:
            if made and (both := await undone(e, f"make {network.name} and undo it", self.remove, network)):
                raise both from e
            raise

    async def remove(self, network: Network) -> None:
        """Elements, then the bridge with what stale cables of ours are still on it; without networks, the table."""
        teardown = Teardown(f"remove network {network.name}")
        await teardown.step(self._firewall.remove, elements.of_network(network, self._mark))
        await teardown.step(self._delete_device, network)
        await teardown.step(self._firewall.drop_unused)
        teardown.end()

    async def _delete_device(self, network: Network) -> None:
        alias = names.tag(self._mark, network.name)
        links = await self._links.all()
        for bridge in links:
            if bridge.name == network.device and bridge.alias == alias:
                stale = [x.name for x in links if x.master == bridge.index and names.owner(x.alias, self._mark)]
                teardown = Teardown(f"delete device {bridge.name}")
                async with anyio.create_task_group() as group:
                    for name in (*stale, bridge.name):
                        group.start_soon(teardown.step, self._links.delete, name)
                teardown.end()

    async def plug(self, network: Network, endpoint: Endpoint, inside: socket.socket, pid: int) -> None:
        await self._links.plug(self._cable(network, endpoint), inside, pid)

    async def unplug(self, network: Network, endpoint: Endpoint, grace: float) -> None:
        if endpoint.veth:
            await self._links.gone(endpoint.veth, names.tag(self._mark, network.name, endpoint.container_id), grace)

    async def attach(self, network: Network, endpoint: Endpoint) -> None:
        await self._links.attach(self._cable(network, endpoint))

    def _cable(self, network: Network, endpoint: Endpoint) -> Cable:
        return Cable(
            name=endpoint.veth,
            alias=names.tag(self._mark, network.name, endpoint.container_id),
            bridge=network.device,
            mtu=_mtu(network),
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            address=IPv4Interface((endpoint.address, endpoint.prefix)),
            gateway=None if network.internal else endpoint.gateway,
            # With br_netfilter a port that is translated to the sender itself stays on the bridge and goes back the same
            # way; without, the host routes it.
            hairpin=bool(endpoint.ports) and sysctl.read("net", "bridge", "bridge-nf-call-iptables") == "1",
        )


def _address(network: Network) -> IPv4Interface:
    if network.gateway is None or network.subnet is None:
        raise Bug(f"network {network.name} has a bridge and no addresses")
    return IPv4Interface((network.gateway, network.subnet.prefixlen))


def _mtu(network: Network) -> int:
    """Return the MTU of the bridge and its cables.  Raises UserError for an option that is not one."""
    given = network.options.get(MTU_OPTION, "")
    if not given:
        return DEFAULT_MTU
    if not given.isdecimal() or not 68 <= int(given) <= 65_535:
        raise UserError(f"invalid {MTU_OPTION}: {given}", hint="a number of bytes between 68 and 65535")
    return int(given)


def _settings(device: str) -> dict[str, str]:
    """Return what a network needs of the kernel.  All but ip_forward go with the bridge.

    route_localnet lets 127.0.0.1 reach a published port; the rules keep containers from using it.  A container must not be
    able to configure the host by router advertisements (CVE-2020-13401).
    """
    return {
        "net/ipv4/ip_forward": "1",
        f"net/ipv4/conf/{device}/route_localnet": "1",
        f"net/ipv6/conf/{device}/accept_ra": "0",
    }
