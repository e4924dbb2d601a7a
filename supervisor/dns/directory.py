"""Who has which name on which network: what the daemon's name server answers from.  Pure.

A container is found by its name, its hostname, its short id and its aliases, by those who share a network with it, and by
nobody else; a link is one more name of another container, for one asker.  The network `bridge` has no names, as with docker;
a directory is only told of networks that have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from hawse.supervisor.core.model import Container, ContainerId, Endpoint, Network, NetworkName

SHORT_ID = 12


@dataclass(slots=True, kw_only=True)
class Member:
    """A container that is plugged in: what it is called everywhere, and its cables by network."""

    id: ContainerId
    name: str
    hostname: str
    dns: tuple[str, ...]  # --dns: who is asked for other names on its behalf
    cables: dict[NetworkName, Endpoint] = field(default_factory=dict)
    links: dict[NetworkName, dict[str, str]] = field(default_factory=dict)  # alias → whose it is

    def names(self, network: NetworkName) -> frozenset[str]:
        always = (self.name, self.hostname, self.id[:SHORT_ID])
        return frozenset(name.lower() for name in (*always, *self.cables[network].aliases))


class Directory:
    """The cost of a question does not grow with the number of containers."""

    def __init__(self) -> None:
        self.networks: dict[NetworkName, Network] = {}
        self._members: dict[ContainerId, Member] = {}
        self._addresses: dict[tuple[NetworkName, IPv4Address], Member] = {}
        self._names: dict[tuple[NetworkName, str], dict[ContainerId, IPv4Address]] = {}

    def connect(self, container: Container, endpoint: Endpoint) -> None:
        """Told twice is told once; an endpoint on a network without names is not noted."""
        if endpoint.network not in self.networks:
            return
        self.disconnect(container.id, endpoint.network)
        member = self._members.setdefault(container.id, _member(container))
        member.cables[endpoint.network] = endpoint
        member.links[endpoint.network] = _links(container, endpoint.network)
        self._enter(member, endpoint)

    def disconnect(self, container_id: ContainerId, network: NetworkName) -> None:
        """Gone is success."""
        member = self._members.get(container_id)
        if member is None or network not in member.cables:
            return
        self._strike(member, member.cables[network])
        del member.cables[network]
        del member.links[network]
        if not member.cables:
            del self._members[container_id]

    def rename(self, container: Container) -> None:
        member = self._members.get(container.id)
        if member is None:
            return
        for endpoint in member.cables.values():
            self._strike(member, endpoint)
        member.name = container.name
        for endpoint in member.cables.values():
            self._enter(member, endpoint)

    def _enter(self, member: Member, endpoint: Endpoint) -> None:
        self._addresses[endpoint.network, endpoint.address] = member
        for name in member.names(endpoint.network):
            self._names.setdefault((endpoint.network, name), {})[member.id] = endpoint.address

    def _strike(self, member: Member, endpoint: Endpoint) -> None:
        if self._addresses.get((endpoint.network, endpoint.address)) is member:
            del self._addresses[endpoint.network, endpoint.address]
        for name in member.names(endpoint.network):
            holders = self._names.get((endpoint.network, name), {})
            holders.pop(member.id, None)
            if not holders:
                self._names.pop((endpoint.network, name), None)

    # Questions.

    def asker(self, network: NetworkName, address: IPv4Address) -> Member | None:
        """Return who has that address on that network."""
        return self._addresses.get((network, address))

    def addresses(self, network: NetworkName) -> list[IPv4Address]:
        """Everybody's on that network."""
        return [address for on, address in self._addresses if on == network]

    def find(self, asker: Member, name: str) -> list[IPv4Address]:
        """The addresses of a name (in lower case) on the asker's networks; `name.network` is on that network only."""
        found: dict[IPv4Address, None] = {}
        for network in asker.cables:
            suffix = f".{network.lower()}"
            for asked in (name, name.removesuffix(suffix) if name.endswith(suffix) else ""):
                wanted = asker.links[network].get(asked, asked)
                found |= dict.fromkeys(self._names.get((network, wanted), {}).values())
        return list(found)

    def name_of(self, asker: Member, address: IPv4Address) -> str:
        """`name.network` of an address on the asker's networks, else ""."""
        for network in asker.cables:
            if member := self.asker(network, address):
                return f"{member.name}.{network}"
        return ""

    def is_ours(self, address: IPv4Address) -> bool:
        """In the subnet of a network that has names: nobody else can know what it is called."""
        return any(network.subnet and address in network.subnet for network in self.networks.values())

    def may_leave(self, asker: Member) -> bool:
        """Tell whether other names are asked for on its behalf: not for those that are on internal networks only, or a
        question would carry data out (CVE-2024-29018)."""
        return any(not self.networks[name].internal for name in asker.cables if name in self.networks)


def _links(container: Container, network: NetworkName) -> dict[str, str]:
    given = (link for request in container.config.endpoints if request.network == network for link in request.links)
    return {alias.lower(): name.lower() for name, _, alias in (link.partition(":") for link in given)}


def _member(container: Container) -> Member:
    return Member(
        id=container.id,
        name=container.name,
        hostname=container.config.hostname or container.id[:SHORT_ID],
        dns=container.config.dns,
    )
