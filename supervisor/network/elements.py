"""What a network and an endpoint put into our nftables table: elements of sets and maps, never a rule.  Pure.

A published port is one element of a map, a run of equal ports one interval; the comment is the owner's tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hawse.supervisor.core.model import Endpoint, Network, PortBinding
from hawse.supervisor.network import names
from hawse.supervisor.network.ports import every_address

# Sets: which devices and subnets are ours, and on which gateways we answer for names.
BRIDGES, INTERNAL, SAME, SOURCES, RESOLVERS = "bridges", "internal", "same", "sources", "resolvers"
# Maps: where a published port leads to; by any or by one address of the host, single ports or intervals.
PUBLISH_ANY, PUBLISH_ADDRESS, RANGE_ANY, RANGE_ADDRESS = "publish_any", "publish_address", "range_any", "range_address"

OF_NETWORKS = (BRIDGES, INTERNAL, SAME, SOURCES, RESOLVERS)
OF_PORTS = (PUBLISH_ANY, PUBLISH_ADDRESS, RANGE_ANY, RANGE_ADDRESS)
_DEVICES = (BRIDGES, INTERNAL, SAME)  # their keys are device names, which are written in quotes


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the set or map `place`; the value is empty in a set."""

    place: str
    key: tuple[str, ...]
    value: tuple[str, ...] = ()
    comment: str = ""

    @property
    def key_text(self) -> str:
        return " . ".join(f'"{part}"' for part in self.key) if self.place in _DEVICES else " . ".join(self.key)

    @property
    def text(self) -> str:
        comment = f' comment "{self.comment}"' if self.comment else ""
        value = f" : {' . '.join(self.value)}" if self.value else ""
        return f"{self.key_text}{comment}{value}"

    @property
    def ports(self) -> range:
        """The host ports of a published one."""
        first, _, last = self.key[-1].partition("-")
        return range(int(first), int(last or first) + 1)

    def shadows(self, other: Element) -> bool:
        """Tell whether a packet could match both of two published ports."""
        return (
            self.place in OF_PORTS
            and other.place in OF_PORTS
            and self.key[:-1] == other.key[:-1]
            and self.ports.start < other.ports.stop
            and other.ports.start < self.ports.stop
        )


class Index:
    """Elements by place and key, and by the ports they publish; the cost of a question does not grow with their number."""

    def __init__(self, them: Iterable[Element] = ()) -> None:
        self._by_key: dict[tuple[str, tuple[str, ...]], Element] = {}
        self._ranges: dict[tuple[str, tuple[str, ...]], Element] = {}
        for element in them:
            self.add(element)

    def __contains__(self, element: Element) -> bool:
        """Exactly this one, value and comment included."""
        return self._by_key.get((element.place, element.key)) == element

    def __iter__(self) -> Iterator[Element]:
        return iter(self._by_key.values())

    def add(self, element: Element) -> None:
        self._by_key[element.place, element.key] = element
        if element.place in (RANGE_ANY, RANGE_ADDRESS):
            self._ranges[element.place, element.key] = element

    def discard(self, element: Element) -> None:
        if element in self:
            del self._by_key[element.place, element.key]
            self._ranges.pop((element.place, element.key), None)

    def clear(self) -> None:
        self._by_key.clear()
        self._ranges.clear()

    def in_the_way(self, new: Element) -> list[Element]:
        """Return what has its key, or publishes one of its ports."""
        found = [there] if (there := self._by_key.get((new.place, new.key))) else []
        if new.place in OF_PORTS:
            found += [there for there in self._ranges.values() if new.shadows(there) and there not in found]
            single = PUBLISH_ANY if new.place in (PUBLISH_ANY, RANGE_ANY) else PUBLISH_ADDRESS
            keys = ((single, (*new.key[:-1], str(port))) for port in new.ports)
            found += [there for key in keys if (there := self._by_key.get(key)) and there not in found]
        return found


def of_network(network: Network, mark: str) -> tuple[Element, ...]:
    """Makes the rules apply to a network's bridge and subnet."""
    comment = names.tag(mark, network.name)
    device = network.device
    found = [
        Element(BRIDGES, (device,), comment=comment),
        Element(SAME, (device, device), comment=comment),
    ]
    if network.has_names:
        found.append(Element(RESOLVERS, (str(network.gateway),), comment=comment))
    if network.internal:
        found.append(Element(INTERNAL, (device,), comment=comment))
    elif network.subnet:
        found.append(Element(SOURCES, (str(network.subnet),), comment=comment))
    return tuple(found)


def of_endpoint(endpoint: Endpoint, mark: str) -> tuple[Element, ...]:
    """A container's published ports on one network."""
    comment = names.tag(mark, endpoint.network, endpoint.container_id)
    address = str(endpoint.address)
    found = []
    for host_ip, proto, first, last, target in _runs(endpoint.ports):
        where = (host_ip, proto) if host_ip else (proto,)
        if last > first:
            place = RANGE_ADDRESS if host_ip else RANGE_ANY
            found.append(Element(place, (*where, f"{first}-{last}"), (address,), comment))
        else:
            place = PUBLISH_ADDRESS if host_ip else PUBLISH_ANY
            found.append(Element(place, (*where, str(first)), (address, str(target)), comment))
    return tuple(found)


def _runs(ports: Iterable[PortBinding]) -> Iterator[tuple[str, str, int, int, int]]:
    """(host address or "", protocol, first, last, container port of the first); longer than one where ports are equal."""
    run: tuple[str, str, int, int, int] | None = None
    for binding in sorted(set(ports), key=_order):
        host_ip = "" if every_address(binding) else str(binding.host_ip)
        port = binding.host_port
        if run and run[:2] == (host_ip, binding.proto):
            if port == run[3] + 1 and port == binding.container_port and run[2] == run[4]:
                run = (*run[:3], port, run[4])
                continue
            if run[2] <= port <= run[3]:
                continue  # given twice
        if run:
            yield run
        run = (host_ip, binding.proto, port, port, binding.container_port)
    if run:
        yield run


def _order(binding: PortBinding) -> tuple[str, str, int, int]:
    return (
        "" if every_address(binding) else str(binding.host_ip),
        binding.proto,
        binding.host_port,
        binding.container_port,
    )


def add(table: str, elements: Iterable[Element]) -> str:
    """The commands that add them; empty for none."""
    return _commands("add", table, ((e.place, e.text) for e in elements))


def delete(table: str, elements: Iterable[Element]) -> str:
    """The commands that delete them, whatever their value."""
    return _commands("delete", table, ((e.place, e.key_text) for e in elements))


def _commands(verb: str, table: str, texts: Iterable[tuple[str, str]]) -> str:
    places: dict[str, list[str]] = {}
    for place, text in texts:
        places.setdefault(place, []).append(text)
    return "".join(f"{verb} element inet {table} {place} {{ {', '.join(them)} }}\n" for place, them in places.items())


def parse(listing: Iterable[Mapping[str, Any]]) -> list[Element]:
    """The elements in what libnftables lists as JSON (libnftables-json(5))."""
    found = []
    for item in listing:
        body = item.get("map") or item.get("set") or {}
        for raw in body.get("elem", ()):
            key, value = raw if isinstance(raw, list) else (raw, None)
            comment = ""
            if isinstance(key, dict) and "elem" in key:
                comment, key = key["elem"].get("comment", ""), key["elem"]["val"]
            found.append(Element(body["name"], _parts(key), _parts(value) if value is not None else (), comment))
    return found


def _parts(value: Any) -> tuple[str, ...]:
    match value:
        case {"concat": list(parts)}:
            return tuple(text for part in parts for text in _parts(part))
        case {"range": [first, last]}:
            return (f"{first}-{last}",)
        case {"prefix": {"addr": address, "len": length}}:
            return (f"{address}/{length}",)
    return (str(value),)
