"""The plan, as a table of single faults, and by hypothesis: applied to a model of the world it leaves nothing to do."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Network,
    NetworkName,
    PortBinding,
    State,
)
from hawse.supervisor.linux.rtnetlink import Link
from hawse.supervisor.network import elements, names
from hawse.supervisor.network.driver import Edges, Expected
from hawse.supervisor.network.drivers.bridge import Bridge
from hawse.supervisor.network.observed import Observed, ObservedLink
from hawse.supervisor.reconcile.plan import SETTLE_NS, Action, Kind, Records, Seen, plan

MARK = "hawse"
EXPECTED = Bridge(Edges(links=Any, firewall=Any, mark=MARK)).expected  # type: ignore[arg-type]
NOW = 10 * SETTLE_NS
NETWORK = Network(
    id="n" * 64,
    name=NetworkName("net"),
    driver="bridge",
    created_at=1,
    subnet=IPv4Network("10.0.0.0/24"),
    gateway=IPv4Address("10.0.0.1"),
    device="net",
)


def container(letter: str, state: State = State.RUNNING) -> Container:
    config = ContainerConfig(endpoints=(EndpointRequest(network=NETWORK.name),))
    return Container(id=ContainerId(letter * 64), name=letter, config=config, state=state, created_at=1, finished_at=1)


def endpoint(owner: Container, last: int) -> Endpoint:
    return Endpoint(
        container_id=owner.id,
        network=NETWORK.name,
        address=IPv4Address(f"10.0.0.{last}"),
        prefix=24,
        mac="02:42:0a:00:00:02",
        gateway=NETWORK.gateway,
        veth=names.veth(owner.id, NETWORK.name, ""),
        ifname="eth0",
        ports=(PortBinding(container_port=80, host_port=8000 + last),),
    )


def right(records: Records) -> Seen:
    """The world exactly as recorded."""
    running = {c.id for c in records.containers.values() if c.state.is_alive}
    plugged = [e for e in records.endpoints if e.container_id in running]
    links = {
        n.device: ObservedLink(
            link=Link(index=i, name=n.device, kind="bridge", up=True),
            owner=names.Owner("", n.name),
            addresses=(IPv4Interface("10.0.0.1/24"),),
            routes=frozenset({IPv4Network("10.0.0.0/24")}),
        )
        for i, n in enumerate(records.networks.values(), 1)
    }
    for i, e in enumerate(plugged, 10):
        link = Link(index=i, name=e.veth, kind="veth", up=True)
        links[e.veth] = ObservedLink(link=link, owner=names.Owner(e.container_id, e.network), master="net")
    found = [x for n in records.networks.values() for x in elements.of_network(n, MARK)]
    found += [x for e in plugged for x in elements.of_endpoint(e, MARK)]
    return Seen(
        network=Observed(
            links=links,
            elements=tuple(found),
            table_intact=True,
            firewall_mode="watch",
            sysctls={"net/ipv4/ip_forward": "1", "net/ipv4/conf/net/route_localnet": "1"},
        ),
        cgroups=frozenset(running),
        state_dirs=frozenset(records.containers),
        run_dirs=frozenset(running),
        shims=frozenset(running),
    )


WEB = container("a")
PLUG = endpoint(WEB, 2)
RECORDS = Records(containers={WEB.id: WEB}, networks={NETWORK.name: NETWORK}, endpoints=[PLUG])


def found(records: Records = RECORDS, *, busy: set[str] | None = None, **changes: Any) -> list[Action]:
    seen = right(records)
    network = {k: changes.pop(k) for k in list(changes) if k in Observed.__dataclass_fields__}
    return plan(records, _with(seen, network, changes), EXPECTED, mark=MARK, busy=busy or set(), now=NOW)


def _with(seen: Seen, network: dict[str, Any], changes: dict[str, Any]) -> Seen:
    observed = dataclasses.replace(seen.network, **network)
    return dataclasses.replace(seen, network=observed, **changes)


def links(**changes: ObservedLink | None) -> dict[str, ObservedLink]:
    there = dict(right(RECORDS).network.links)
    for name, link in changes.items():
        key = PLUG.veth if name == "veth" else name
        if link is None:
            del there[key]
        else:
            there[key] = link
    return there


BRIDGE, VETH = right(RECORDS).network.links["net"], right(RECORDS).network.links[PLUG.veth]


def link(of: ObservedLink, **changes: Any) -> ObservedLink:
    outer = {k: changes.pop(k) for k in list(changes) if k in ("owner", "master", "addresses", "routes")}
    return dataclasses.replace(of, link=dataclasses.replace(of.link, **changes), **outer)


def test_a_right_world_needs_nothing() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "kind", "problem"),
    [
        ({"links": links(net=None, veth=link(VETH, master=""))}, Kind.MEND_NETWORK, "missing"),
        ({"links": links(net=link(BRIDGE, up=False))}, Kind.MEND_NETWORK, "down"),
        ({"links": links(net=link(BRIDGE, addresses=()))}, Kind.MEND_NETWORK, "address 10.0.0.1/24 missing"),
        ({"links": links(net=link(BRIDGE, routes=frozenset()))}, Kind.MEND_NETWORK, "route to 10.0.0.0/24 missing"),
        ({"sysctls": {"net/ipv4/ip_forward": "0"}}, Kind.MEND_NETWORK, "sysctl net.ipv4.ip_forward is 0, not 1"),
        ({"links": links(veth=None)}, Kind.REPLUG, "missing"),
        ({"links": links(veth=link(VETH, master=""))}, Kind.ATTACH, "not on bridge net"),
        ({"links": links(veth=link(VETH, up=False))}, Kind.ATTACH, "down"),
        ({"table_intact": False}, Kind.RESTORE_TABLE, "table rules"),
        ({"elements": ()}, Kind.RESTORE_TABLE, "publish_any tcp . 8002"),
        ({"shims": frozenset()}, Kind.COLLECT, "no keeper"),
        ({"cgroups": frozenset({WEB.id, "f" * 64})}, Kind.REMOVE_CGROUP, "of no running container"),
        ({"state_dirs": frozenset({WEB.id, "f" * 64})}, Kind.REMOVE_STATE, "of no container"),
        ({"run_dirs": frozenset({WEB.id, "f" * 64})}, Kind.REMOVE_RUN, "of no container"),
    ],
)
def test_one_fault_is_one_action(changes: dict[str, Any], kind: Kind, problem: str) -> None:
    actions = {action.kind: action for action in found(**changes)}
    assert kind in actions and problem in actions[kind].problem


def test_a_setting_of_a_device_with_a_dot_in_its_name() -> None:
    dotted = changed(NETWORK, device="a.b")
    records = dataclasses.replace(RECORDS, networks={NETWORK.name: dotted}, endpoints=[])
    right = {"links": {"a.b": BRIDGE}, "elements": EXPECTED(dotted).elements}
    (action,) = found(records, **right, sysctls={"net/ipv4/conf/a.b/route_localnet": "0"})
    assert (action.object, action.problem) == ("bridge a.b", "sysctl net.ipv4.conf.a.b.route_localnet is 0, not 1")


def test_a_network_whose_driver_is_gone_is_left_alone() -> None:
    """What it is made of nobody knows: it is told of, and nothing of it is deleted."""
    mine = ObservedLink(link=Link(index=91, name="h-extra"), owner=names.Owner("", "net"))
    seen = _with(right(RECORDS), {"links": {"net": BRIDGE, "h-extra": mine}}, {})
    actions = plan(RECORDS, seen, lambda _: Expected(problem="no such driver"), mark=MARK, busy=set(), now=NOW)
    assert [(a.kind, a.object, a.problem) for a in actions] == [(Kind.MEND_NETWORK, "network net", "no such driver")]


def test_a_network_that_needs_no_rules_misses_no_table() -> None:
    records = dataclasses.replace(RECORDS, endpoints=[])
    seen = _with(right(records), {"table_intact": False, "elements": ()}, {})
    assert [a.kind for a in plan(records, seen, EXPECTED, mark=MARK, busy=set(), now=NOW)] == [Kind.RESTORE_TABLE]

    def expected(network: Network) -> Expected:
        return dataclasses.replace(EXPECTED(network), elements=())

    assert plan(records, seen, expected, mark=MARK, busy=set(), now=NOW) == []


def test_a_cable_without_an_end_on_the_host_is_not_missed() -> None:
    """As with macvlan: its row has the name that the end would have."""
    seen = _with(right(RECORDS), {"links": {"net": BRIDGE}}, {})

    def expected(network: Network) -> Expected:
        return dataclasses.replace(EXPECTED(network), master=None)

    assert plan(RECORDS, seen, expected, mark=MARK, busy=set(), now=NOW) == []


def test_what_somebody_works_on_is_not_judged() -> None:
    broken = {"links": links(veth=None), "elements": right(RECORDS).network.elements[:2], "shims": frozenset()}
    assert {a.kind for a in found(**broken)} >= {Kind.COLLECT}
    assert Kind.COLLECT not in {a.kind for a in found(**broken, busy={WEB.id})}
    assert found(links=links(net=link(BRIDGE, up=False)), busy={"network/net"}) == []
    removed = Records(containers={}, networks={}, endpoints=[])  # since the look at the kernel
    left = {"links": {}, "elements": tuple(elements.of_network(NETWORK, MARK)), "shims": frozenset()}
    left |= {"cgroups": frozenset(), "state_dirs": frozenset(), "run_dirs": frozenset()}
    assert [a.kind for a in found(removed, **left)] == [Kind.DISCARD_ELEMENTS]
    assert found(removed, **left, busy={"network/net"}) == []


def test_the_cable_of_a_network_that_was_left_is_not_laid_again() -> None:
    """Its handler pulls it, and lets the default route and the ports go over to another: nobody may lay it meanwhile."""
    left = changed(WEB, config=ContainerConfig())
    records = Records(containers={WEB.id: left}, networks=RECORDS.networks, endpoints=[PLUG])
    pulled = tuple(elements.of_network(NETWORK, MARK))
    assert found(records, links=links(veth=None), elements=pulled) == []
    assert found(records) == [], "nor is it an orphan before"


def test_ports_that_are_not_held() -> None:
    published = [PortBinding(container_port=80, host_port=port) for port in (8080, 8081)]
    records = dataclasses.replace(RECORDS, reserved={WEB.id: published})
    (action,) = found(records, held={WEB.id: frozenset({"0.0.0.0:8081/tcp"})}, taken={"0.0.0.0:8080/tcp": "process x"})
    assert (action.kind, action.problem) == (Kind.HOLD_PORTS, "0.0.0.0:8080/tcp is taken by process x")
    assert found(records, busy={WEB.id}) == []


def test_orphans_by_tag_only() -> None:
    stray = ObservedLink(link=Link(index=90, name="h-feed"), owner=names.Owner("f" * 64, "net"))
    foreign = elements.Element(elements.PUBLISH_ANY, ("tcp", "1"), ("10.0.0.9", "1"), "somebody else's")
    ours = elements.Element(elements.PUBLISH_ANY, ("tcp", "2"), ("10.0.0.9", "1"), f"{MARK}:{'f' * 64}:net")
    present = right(RECORDS).network.elements
    actions = found(links={**links(), "h-feed": stray}, elements=(*present, foreign, ours))
    assert {a.kind for a in actions} == {Kind.DELETE_LINK, Kind.DISCARD_ELEMENTS}
    assert [e for a in actions for e in a.elements] == [ours]


def test_ended_and_half_removed_containers() -> None:
    ended, removing = container("b", State.EXITED), container("c", State.REMOVING)
    records = Records(
        containers={c.id: c for c in (ended, removing)}, networks=RECORDS.networks, endpoints=[endpoint(ended, 3)]
    )
    assert {a.kind for a in found(records)} == {Kind.UNPLUG, Kind.FINISH_REMOVAL}
    dead = container("d", State.DEAD)
    quarantined = Records(containers={dead.id: dead}, networks=RECORDS.networks, endpoints=[])
    assert [a.kind for a in found(quarantined)] == [Kind.FINISH_REMOVAL]
    connected = Records(containers={dead.id: dead}, networks=RECORDS.networks, endpoints=[endpoint(dead, 4)])
    assert [a.kind for a in found(connected)] == [Kind.UNPLUG], "the next look finishes it"
    fresh = Records(
        containers={ended.id: changed(ended, finished_at=NOW)},
        networks=RECORDS.networks,
        endpoints=[endpoint(ended, 3)],
    )
    assert found(fresh) == [], "its disconnect handler is at work"


@given(
    states=st.lists(st.sampled_from([State.CREATED, State.RUNNING, State.PAUSED, State.EXITED]), max_size=5),
    data=st.data(),
)
def test_applied_to_a_model_the_plan_converges(states: list[State], data: st.DataObject) -> None:
    containers = [container("0123456789abcdef"[i], state) for i, state in enumerate(states)]
    records = Records(
        containers={c.id: c for c in containers},
        networks=RECORDS.networks,
        endpoints=[endpoint(c, 2 + i) for i, c in enumerate(containers) if c.state.is_alive],
    )
    good = right(records)
    world = {
        "links": data.draw(st.fixed_dictionaries({}, optional={k: st.just(v) for k, v in good.network.links.items()})),
        "elements": tuple(data.draw(st.lists(st.sampled_from(good.network.elements), unique=True))),
        "table_intact": data.draw(st.booleans()),
    }
    cgroups = frozenset(data.draw(st.sets(st.sampled_from(["e" * 64, "f" * 64])))) | good.cgroups
    seen = _with(good, world, {"cgroups": cgroups})
    for _ in range(3):
        actions = plan(records, seen, EXPECTED, mark=MARK, busy=set(), now=NOW)
        if not actions:
            break
        seen = _applied(seen, good, actions)
    assert plan(records, seen, EXPECTED, mark=MARK, busy=set(), now=NOW) == []


def _applied(seen: Seen, good: Seen, actions: list[Action]) -> Seen:
    there = dict(seen.network.links)
    present = set(seen.network.elements)
    intact, cgroups = seen.network.table_intact, set(seen.cgroups)
    for action in actions:
        name = action.object.partition(" ")[2]
        match action.kind:
            case Kind.MEND_NETWORK | Kind.REPLUG | Kind.ATTACH:
                there[name] = good.network.links[name]
            case Kind.RESTORE_TABLE:
                present |= set(action.elements)
                intact = True
            case Kind.REMOVE_CGROUP:
                cgroups.discard(action.container_id)
            case _:
                raise AssertionError(f"nothing in this world calls for {action}")
    changes = {"links": there, "elements": tuple(present), "table_intact": intact}
    return _with(seen, changes, {"cgroups": frozenset(cgroups)})
