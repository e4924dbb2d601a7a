"""The table: sets, maps and chains as text.  Static: nothing here depends on what networks and containers there are.

How a packet goes:

    prerouting (raw)   a container's packet to 127.0.0.0/8 is dropped: the bridges have route_localnet
    prerouting (dnat)  to an address of the host: look the port up in the maps, translate; port 53 of a gateway where we
                       answer for names is ours, whoever has published 53
    output (dnat)      the same for the host's own programs, 127.0.0.1 included
    forward            known flows; within one bridge; internal networks stay inside; into a bridge only what was translated
    postrouting        masquerade: out of our subnets; from 127.0.0.1 into a bridge; a container to itself by the host's address

Isolation between networks and from outside is one rule: into a bridge comes what we translated and nothing else.  A port
published on 127.0.0.1 is therefore not reachable from outside by any destination: 127.0.0.1 is translated only for the
host's own programs, and the container's address is never translated.  Bridged packets that br_netfilter shows to these
chains have the same device on both sides, and pass.

Pure.  `version` is a hash of the text; a chain of that name says what a table was made from.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from hawse.supervisor.network.elements import (
    BRIDGES,
    INTERNAL,
    PUBLISH_ADDRESS,
    PUBLISH_ANY,
    RANGE_ADDRESS,
    RANGE_ANY,
    RESOLVERS,
    SAME,
    SOURCES,
)

PLACES = {
    BRIDGES: "set {} {{ type ifname; }}",
    INTERNAL: "set {} {{ type ifname; }}",
    SAME: "set {} {{ type ifname . ifname; }}",
    SOURCES: "set {} {{ type ipv4_addr; flags interval; }}",
    RESOLVERS: "set {} {{ type ipv4_addr; }}",
    PUBLISH_ANY: "map {} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}",
    PUBLISH_ADDRESS: "map {} {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}",
    RANGE_ANY: "map {} {{ type inet_proto . inet_service : ipv4_addr; flags interval; }}",
    RANGE_ADDRESS: "map {} {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }}",
}

# `ip protocol` and not `meta l4proto`: the parser of nft 1.0 takes only the first as part of a concatenation.
_HERE = "ip daddr . ip protocol . th dport"
_ANY = "ip protocol . th dport"

CHAINS: dict[str, tuple[str, tuple[str, ...]]] = {
    "publish": (
        "",
        (
            f"ip daddr @{RESOLVERS} meta l4proto {{ tcp, udp }} th dport 53 return",
            f"dnat ip to {_HERE} map @{PUBLISH_ADDRESS}",
            f"dnat ip to {_HERE} map @{RANGE_ADDRESS}",
            f"dnat ip to {_ANY} map @{PUBLISH_ANY}",
            f"dnat ip to {_ANY} map @{RANGE_ANY}",
        ),
    ),
    "raw": (
        "type filter hook prerouting priority -300; policy accept;",
        (f"ip daddr 127.0.0.0/8 iifname @{BRIDGES} drop",),
    ),
    "prerouting": (
        "type nat hook prerouting priority -100; policy accept;",
        ("ip daddr != 127.0.0.0/8 fib daddr type local jump publish",),
    ),
    "output": (
        "type nat hook output priority -100; policy accept;",
        ("fib daddr type local jump publish",),
    ),
    "forward": (
        "type filter hook forward priority 0; policy accept;",
        (
            "ct state established,related accept",
            f"iifname . oifname @{SAME} accept",
            f"iifname @{INTERNAL} drop",
            f"oifname @{INTERNAL} drop",
            f"oifname @{BRIDGES} ct status dnat accept",
            f"oifname @{BRIDGES} drop",
            f"iifname @{BRIDGES} ct state invalid drop",  # would leave untranslated, with the container's address
        ),
    ),
    "postrouting": (
        "type nat hook postrouting priority 100; policy accept;",
        (
            f"oifname @{BRIDGES} ct status dnat ip saddr 127.0.0.0/8 masquerade",
            f"oifname @{BRIDGES} ct status dnat ip saddr @{SOURCES} masquerade",
            f"oifname != @{BRIDGES} ip saddr @{SOURCES} masquerade",
        ),
    ),
}


def _chains(table: str) -> str:
    lines = [f"add chain inet {table} {name}{f' {{ {hook} }}' if hook else ''}" for name, (hook, _) in CHAINS.items()]
    lines += [f"add rule inet {table} {name} {rule}" for name, (_, rules) in CHAINS.items() for rule in rules]
    return "\n".join(lines) + "\n"


VERSION = "version_" + sha256((_chains("") + repr(PLACES)).encode()).hexdigest()[:12]


def install(table: str, *, old_chains: Collection[str] = (), create: bool = True) -> str:
    """Return one transaction that makes the table, or replaces its chains while its sets and maps keep their elements.

    With `create` False the table exists and is owned (`add table` would ask to take its flags away).
    """
    lines = [f"add table inet {table}"] if create else []
    lines += [f"add {text.format(f'inet {table} {place}')}" for place, text in PLACES.items()]
    lines += [f"flush chain inet {table} {name}" for name in old_chains]
    lines += [f"delete chain inet {table} {name}" for name in old_chains]
    return "\n".join(lines) + "\n" + _chains(table) + f"add chain inet {table} {VERSION}\n"


def remove(table: str) -> str:
    return f"delete table inet {table}\n"
