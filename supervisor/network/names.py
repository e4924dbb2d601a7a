"""Names, MACs and owner tags of the devices that hawse makes: all of them follow from the records, none is random.

A crash between making a device and tagging it leaves something whose name can be computed again.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from ipaddress import IPv4Address
from typing import NamedTuple

from hawse.supervisor.core.errors import UserError

IFNAME_MAX = 15  # IFNAMSIZ without the zero
NETWORK_MAX = 50  # a network's name stands in element comments, which the kernel keeps to 128 bytes
DIGITS = 12

_IFNAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,14}\Z")
_NETWORK = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?\Z")
_RESERVED = frozenset({"all", "default", "lo"})  # /proc/sys/net/ipv4/conf/all is not a device


class Owner(NamedTuple):
    """What a tag says.  `container_id` is "" on what belongs to the network itself."""

    container_id: str
    network: str


def check_network(name: str) -> str:
    """Raises UserError for a network name that cannot be one."""
    if not _NETWORK.match(name):
        raise UserError(
            f"invalid network name {name!r}", hint="[a-zA-Z0-9_], then more of them and of [ .-], no space at the end"
        )
    if len(name) > NETWORK_MAX:
        raise UserError(f"network name {name} has {len(name)} characters; at most {NETWORK_MAX} are possible")
    return name


def bridge(network: str, instance: str, taken: Collection[str]) -> str:
    """The bridge's name: the network's own where it can be a device's and nobody has it, else a hash of it."""
    default = f"h{instance}0" if instance else "hawse0"
    wanted = default if network == "bridge" else network
    if _IFNAME.match(wanted) and wanted not in _RESERVED and wanted not in taken:
        return wanted
    return _hashed(instance, f"network/{network}")


def veth(container_id: str, network: str, instance: str) -> str:
    """The host side of a container's cable."""
    return _hashed(instance, f"{container_id}/{network}")


def is_veth(name: str, instance: str) -> bool:
    """Tell whether `veth` of this instance could have made the name."""
    prefix = f"h{instance}-"
    return name.startswith(prefix) and re.fullmatch(r"[0-9a-f]+", name[len(prefix) :]) is not None


def mac(address: IPv4Address) -> str:
    """The locally administered MAC that goes with an address: whoever has the address next has the same MAC, and no ARP
    cache of a neighbour can be stale."""
    return (b"\x02\x42" + address.packed).hex(":")


def tag(mark: str, network: str, container_id: str = "") -> str:
    """The owner's tag for a link's alias or an element's comment."""
    return f"{mark}:{container_id}:{network}"


def owner(text: str, mark: str) -> Owner | None:
    """The inverse of `tag`; None for what is not ours."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] != mark:
        return None
    return Owner(parts[1], parts[2])


def _hashed(instance: str, text: str) -> str:
    prefix = f"h{instance}-"
    return prefix + sha256(text.encode()).hexdigest()[: min(DIGITS, IFNAME_MAX - len(prefix))]
