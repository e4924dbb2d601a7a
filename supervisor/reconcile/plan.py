"""The plan: what the records say, what the kernel and the disk have, and what follows.  Pure.

One plan serves the start of a daemon, drift, the periodic check and `hawse audit`; who applies it is repairs.py.  What a
network is made of is what its driver says (`expected`).  Only what carries our tag is ever named in an action.  A container
or network that somebody is working on right now (`busy`: ids, and "network/NAME") is not judged, and neither is anything
that belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from hawse.supervisor.core.model import Container, ContainerId, Endpoint, Network, NetworkName, PortBinding, State
from hawse.supervisor.network import elements
from hawse.supervisor.network.driver import Device, Expected
from hawse.supervisor.network.elements import Element
from hawse.supervisor.network.observed import Observed

SETTLE_NS = 5_000_000_000
"""An ended container's cables are its disconnect handler's business for so long after its exit."""


class Kind(StrEnum):
    """What to do; the value says it to people."""

    RESTORE_TABLE = "put the rules and elements back"
    MEND_NETWORK = "make its devices, addresses and settings right"
    HOLD_PORTS = "hold the ports, as soon as nobody else has them"
    REPLUG = "lay the cable anew"
    ATTACH = "put the cable back on its device"
    COLLECT = "write its exit down"
    UNPLUG = "release the endpoint"
    FINISH_REMOVAL = "finish the removal"
    DISCARD_ELEMENTS = "delete the elements"
    DELETE_LINK = "delete the device"
    REMOVE_CGROUP = "kill what is left in it and remove it"
    REMOVE_STATE = "remove the files"
    REMOVE_RUN = "remove the run directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that is off and its remedy.  `object` names it as people would look for it: "link h-0123456789ab"."""

    kind: Kind
    object: str
    problem: str
    network: str = ""
    container_id: str = ""
    elements: tuple[Element, ...] = ()

    @property
    def remedy(self) -> str:
        return self.kind.value

    def describe(self) -> str:
        return f"{self.object}: {self.problem} → {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What should be."""

    containers: Mapping[ContainerId, Container]
    networks: Mapping[str, Network]
    endpoints: Sequence[Endpoint]
    reserved: Mapping[str, Sequence[PortBinding]] = field(default_factory=dict)  # container → its published ports


Wanted = Mapping[NetworkName, Expected]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is: one look at the network, the cgroups, our directories, and whose shims we are connected to."""

    network: Observed
    cgroups: frozenset[str] = frozenset()
    state_dirs: frozenset[str] = frozenset()
    run_dirs: frozenset[str] = frozenset()
    shims: frozenset[str] = frozenset()
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)  # container → the ports that we hold for it
    taken: Mapping[str, str] = field(default_factory=dict)  # port → who else has it


def plan(
    records: Records,
    seen: Seen,
    expected: Callable[[Network], Expected],
    *,
    mark: str,
    busy: Collection[str],
    now: int,
) -> list[Action]:
    """Networks first, then cables and elements, then containers, then what belongs to nobody.  `now` in ns."""
    wanted = {network.name: expected(network) for network in records.networks.values()}
    return [
        *_networks(wanted, seen, busy),
        *_cables(records, wanted, seen, busy),
        *_elements(records, wanted, seen, mark, busy),
        *_ports(records, seen, busy),
        *_containers(records, seen, busy, now),
        *_orphans(records, wanted, seen, busy),
    ]


def _networks(wanted: Wanted, seen: Seen, busy: Collection[str]) -> Iterator[Action]:
    for name, expected in wanted.items():
        if _lock(name) in busy:
            continue
        if expected.problem:
            yield Action(kind=Kind.MEND_NETWORK, object=f"network {name}", problem=expected.problem, network=name)
        for device in expected.devices:
            if problem := _device_problem(device, seen.network):
                what = f"{device.what} {device.name}"
                yield Action(kind=Kind.MEND_NETWORK, object=what, problem=problem, network=name)


def _lock(network: str) -> str:
    return f"network/{network}"


def _device_problem(device: Device, observed: Observed) -> str:
    there = observed.links.get(device.name)
    if there is None:
        return "missing"
    if not there.link.up:
        return "down"
    if device.address and device.address not in there.addresses:
        return f"address {device.address} missing"
    if device.route and device.route not in there.routes:
        return f"route to {device.route} missing"
    for name, wanted in device.settings.items():
        value = observed.sysctls.get(name)
        if value not in (None, wanted):
            return f"sysctl {name.replace('/', '.')} is {value}, not {wanted}"
    return ""


def _cables(records: Records, wanted: Wanted, seen: Seen, busy: Collection[str]) -> Iterator[Action]:
    for endpoint in records.endpoints:
        container = records.containers.get(endpoint.container_id)
        network = records.networks.get(endpoint.network)
        if container is None or network is None or {container.id, _lock(network.name)} & set(busy):
            continue
        if not _plugged(container, endpoint, seen):
            continue
        expected = wanted[network.name]
        master = expected.master
        if master is None:
            continue
        there = seen.network.links.get(endpoint.veth)
        kind, problem = Kind.ATTACH, ""
        if there is None:
            kind, problem = Kind.REPLUG, "missing"
        elif there.master != master:
            what = next((device.what for device in expected.devices if device.name == master), "device")
            problem = f"not on {what} {master}" if master else f"on {there.master}"
        elif not there.link.up:
            problem = "down"
        if problem:
            yield Action(
                kind=kind,
                object=f"link {endpoint.veth}",
                problem=problem,
                network=network.name,
                container_id=container.id,
            )


def _plugged(container: Container, endpoint: Endpoint, seen: Seen) -> bool:
    """It runs, so the cable has to be in; one of a network that it has left is its disconnect handler's business."""
    runs = container.state.is_running and container.id in seen.shims
    return runs and belongs(container, endpoint)


def belongs(container: Container, endpoint: Endpoint) -> bool:
    """Tell whether the container is to be in that network."""
    return any(request.network == endpoint.network for request in container.config.endpoints)


def _elements(records: Records, expected: Wanted, seen: Seen, mark: str, busy: Collection[str]) -> Iterator[Action]:
    wanted: set[Element] = set()
    owned: set[tuple[str, str]] = set()
    for network in records.networks.values():
        owned.add(("", network.name))
        if _lock(network.name) not in busy:
            wanted.update(expected[network.name].elements)
    for endpoint in records.endpoints:
        container = records.containers.get(endpoint.container_id)
        owned.add((endpoint.container_id, endpoint.network))
        if container and container.id not in busy and _plugged(container, endpoint, seen):
            wanted.update(elements.of_endpoint(endpoint, mark))
    present = set(seen.network.elements)
    missing = tuple(sorted(wanted - present, key=_element_order))
    needed = any(each.elements for each in expected.values())
    table = "table rules" if needed and not seen.network.table_intact else ""
    if missing or table:
        names = ", ".join([table] * bool(table) + [f"{e.place} {' . '.join(e.key)}" for e in missing[:3]])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield Action(
            kind=Kind.RESTORE_TABLE,
            object="nftables table",
            problem=f"missing: {names}{more}",
            elements=missing,
            container_id=_only_owner(missing),
        )
    stray: dict[str, list[Element]] = {}
    for element in present - wanted:
        tag, container_id, network_name = (*element.comment.split(":"), "", "")[:3]
        if tag != mark or container_id in busy or _lock(network_name) in busy:
            continue  # a removal takes the elements first, and was seen in the middle of it
        if (container_id, network_name) not in owned:
            stray.setdefault(element.comment, []).append(element)
    for comment, found in sorted(stray.items()):
        _, container_id, network_name = comment.split(":")
        yield Action(
            kind=Kind.DISCARD_ELEMENTS,
            object=f"elements of {comment}",
            problem=f"{len(found)} without an owner",
            container_id=container_id,
            network=network_name,
            elements=tuple(sorted(found, key=_element_order)),
        )


def _ports(records: Records, seen: Seen, busy: Collection[str]) -> Iterator[Action]:
    for container_id, bindings in records.reserved.items():
        container = records.containers.get(ContainerId(container_id))
        if container is None or container.id in busy or container.id not in seen.shims or not container.state.is_alive:
            continue
        held = seen.held.get(container_id, frozenset())
        if loose := sorted(b.place for b in bindings if b.place not in held):
            told = [f"{place} is taken by {seen.taken[place]}" for place in loose if place in seen.taken]
            told += [f"{place} is not held" for place in loose if place not in seen.taken]
            more = f" and {len(told) - 3} more" if len(told) > 3 else ""
            yield Action(
                kind=Kind.HOLD_PORTS,
                object=f"ports of {container.name}",
                problem=", ".join(told[:3]) + more,
                container_id=container.id,
            )


def _only_owner(missing: Sequence[Element]) -> str:
    """The container, when all that is missing is one's."""
    owners = {element.comment.split(":")[1] for element in missing if element.comment.count(":") == 2}
    return owners.pop() if len(owners) == 1 else ""


def _element_order(element: Element) -> tuple[str, tuple[str, ...]]:
    return element.place, element.key


def _containers(records: Records, seen: Seen, busy: Collection[str], now: int) -> Iterator[Action]:
    plugged: dict[str, list[Endpoint]] = {}
    for endpoint in records.endpoints:
        plugged.setdefault(endpoint.container_id, []).append(endpoint)
    for container in records.containers.values():
        if container.id in busy:
            continue
        if container.state.is_alive and container.id not in seen.shims:
            yield Action(
                kind=Kind.COLLECT,
                object=f"container {container.name}",
                problem=f"recorded as {container.state}, and it has no keeper",
                container_id=container.id,
            )
        elif container.state is State.REMOVING:
            yield Action(
                kind=Kind.FINISH_REMOVAL,
                object=f"container {container.name}",
                problem="half removed",
                container_id=container.id,
            )
        elif container.state is State.DEAD and container.id not in plugged:
            yield Action(
                kind=Kind.FINISH_REMOVAL,
                object=f"container {container.name}",
                problem=f"in quarantine: {container.error}",
                container_id=container.id,
            )
        elif not container.state.is_alive and now - container.finished_at > SETTLE_NS:
            for endpoint in plugged.get(container.id, ()):
                yield Action(
                    kind=Kind.UNPLUG,
                    object=f"endpoint {container.name} on {endpoint.network}",
                    problem="still recorded though the container has ended",
                    container_id=container.id,
                    network=endpoint.network,
                )


def _orphans(records: Records, expected: Wanted, seen: Seen, busy: Collection[str]) -> Iterator[Action]:
    known = set(records.containers)
    alive = {c.id for c in records.containers.values() if c.state.is_alive}
    veths = {endpoint.veth for endpoint in records.endpoints}
    devices = {device.name for each in expected.values() for device in each.devices}
    unknown = {name for name, each in expected.items() if each.problem}
    for name, there in sorted(seen.network.links.items()):
        owner = there.owner
        if name in veths or name in devices or (owner and owner.container_id in busy):
            continue
        if owner and (_lock(owner.network) in busy or owner.network in unknown):
            continue
        if owner is None and busy:
            continue  # an untagged veth may be one that is being made
        whose = f"{owner.container_id[:12] or 'network'} {owner.network}" if owner else "a half-made cable"
        yield Action(
            kind=Kind.DELETE_LINK,
            object=f"link {name}",
            problem=f"left by {whose}",
            network=owner.network if owner else "",
            container_id=owner.container_id if owner else "",
        )
    for kind, found, wanted, what in (
        (Kind.REMOVE_CGROUP, seen.cgroups, alive, "cgroup"),
        (Kind.REMOVE_STATE, seen.state_dirs, known, "directory containers/"),
        (Kind.REMOVE_RUN, seen.run_dirs, known, "run directory containers/"),
    ):
        for container_id in sorted(found - wanted - set(busy)):
            yield Action(
                kind=kind,
                object=f"{what}{' ' if not what.endswith('/') else ''}{container_id}",
                problem="of no running container" if wanted is alive else "of no container",
                container_id=container_id,
            )
