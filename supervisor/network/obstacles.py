"""Other programs' chains that cut our networks: which, what does not work because of them, and what to do about it.

An accept of ours does not overrule a drop of another table.  So docker's or ufw's policy on FORWARD, or firewalld's reject,
ends what our rules let through, and nobody says so.  Here the ways that packets of a network take are followed through all
chains but ours (verdict.py).  Nothing is changed: the remedy is a command for whoever runs the machine.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from hawse.supervisor.core.model import Network, Obstacle
from hawse.supervisor.linux import sysctl
from hawse.supervisor.linux.chains import BRIDGE, FORWARD, INPUT, LEGACY, OUTPUT, POSTROUTING, PREROUTING, Chain
from hawse.supervisor.linux.nftrules import Ruleset
from hawse.supervisor.network.packet import DNAT, ESTABLISHED, UDP, Packet
from hawse.supervisor.network.verdict import Dropped, dropped

NAMES_PORT = 53
PASSING = "firewalld_policy_drop"  # firewalld's table for the moments in which it reloads


def find(networks: Sequence[Network], table: str, uplink: str) -> dict[str, tuple[Obstacle, ...]]:
    """By network, looking at all chains but those of our `table`.  For a worker thread.

    `uplink` is the device of the default route, "" without one.  Raises KernelError, OSError.
    """
    ruleset = Ruleset()
    try:
        bases = [c for c in ruleset.chains().values() if c.hook is not None and c.table not in (table, PASSING)]
        return {network.name: tuple(_of(network, ruleset, bases, uplink)) for network in networks}
    finally:
        ruleset.close()


def _of(network: Network, ruleset: Ruleset, bases: Sequence[Chain], uplink: str) -> Iterator[Obstacle]:
    for what, packets in _ways(network, uplink):
        found = (there for packet in packets for base in bases if (there := _dropped(ruleset, base, packet)))
        for in_the_way in found:
            by = str(in_the_way.base)
            if in_the_way.by != in_the_way.base:
                by += f" (in {in_the_way.by.name})"
            remedy = _remedy(network.device, in_the_way, ruleset, names=what == _NAMES)
            yield Obstacle(what=what, by=by, remedy=remedy)
            break


def _dropped(ruleset: Ruleset, base: Chain, packet: Packet) -> Dropped | None:
    in_bridge = base.family == BRIDGE
    if base.hook != packet.hook or in_bridge != (bool(packet.bridge) and not packet.iif):
        return None
    return dropped(ruleset, base, packet)


_OUT = "containers do not reach other machines"
_IN = "published ports cannot be reached from other machines"
_WITHIN = "containers do not reach each other"
_NAMES = "containers cannot ask for names"


def _ways(network: Network, uplink: str) -> Iterator[tuple[str, list[Packet]]]:
    """Return what somebody would miss, and the packets that have to come through for it, there and back."""
    bridge = network.device
    inside = network.subnet[-2] if network.subnet else None  # like any container's
    indexes = {name: _index(name) for name in (bridge, uplink) if name}
    sent = Packet(hook=FORWARD, iif=bridge, oif=uplink, indexes=indexes, source=inside)
    asked = Packet(hook=FORWARD, iif=uplink, oif=bridge, indexes=indexes, destination=inside)
    translated = replace(asked, status=DNAT)
    if not network.internal:
        yield _OUT, [*_through(sent), replace(asked, state=ESTABLISHED)]
        yield _IN, [*_through(translated), replace(sent, state=ESTABLISHED, status=DNAT)]
    frame = Packet(hook=FORWARD, bridge=bridge, source=inside, destination=inside)
    within = [frame]
    if sysctl.read("net", "bridge", "bridge-nf-call-iptables") == "1":
        within.append(replace(frame, iif=bridge, oif=bridge, indexes=indexes))
    yield _WITHIN, within
    if network.has_names:
        yield _NAMES, list(_question(network.gateway, replace(sent, oif="", protocol=UDP, port=NAMES_PORT)))


def _through(packet: Packet) -> Iterator[Packet]:
    """Before it is forwarded, then, and after."""
    before = replace(packet, hook=PREROUTING, oif="", status=0)
    yield before if not packet.status else replace(before, destination=None)
    yield packet
    yield replace(packet, hook=POSTROUTING, iif="")


def _question(gateway: IPv4Address | None, packet: Packet) -> Iterator[Packet]:
    for hook in (PREROUTING, INPUT):
        yield replace(packet, hook=hook, destination=gateway)
    there = {"source": gateway, "destination": packet.source, "state": ESTABLISHED}
    yield Packet(hook=OUTPUT, oif=packet.iif, indexes=packet.indexes, protocol=UDP, **there)  # type: ignore[arg-type]


def _remedy(bridge: str, found: Dropped, ruleset: Ruleset, *, names: bool) -> str:
    base = found.base
    chains = {name for family, table, name in ruleset.chains() if (family, table) == (base.family, base.table)}
    if base.table == "firewalld":
        return f"firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
    if names and "ufw-user-input" in chains:
        return f"ufw allow in on {bridge} to any port {NAMES_PORT}"
    legacy = base.family == LEGACY
    sides = {PREROUTING: "i", INPUT: "i", FORWARD: "io"}.get(base.hook or 0, "o")
    if base.hook == FORWARD and "DOCKER-USER" in chains:
        return _iptables(f"iptables{'-legacy' if legacy else ''} -I DOCKER-USER", bridge, sides)
    if base.hook == FORWARD and "ufw-user-forward" in chains:
        return f"ufw route allow in on {bridge} && ufw route allow out on {bridge}"
    if legacy:
        return _iptables(f"iptables-legacy -t {base.table} -I {base.name}", bridge, sides)
    matches = [f"meta ibrname {bridge}"] if base.family == BRIDGE else [f"{side}ifname {bridge}" for side in sides]
    return " && ".join(f"nft insert rule {base} {match} accept" for match in matches)


def _iptables(insert: str, bridge: str, sides: str) -> str:
    return " && ".join(f"{insert} -{side} {bridge} -j ACCEPT" for side in sides)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
