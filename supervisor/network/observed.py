"""What the kernel has of ours, as values that a plan can compare with the records.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from hawse.supervisor.linux.device import Link
from hawse.supervisor.network.elements import Element
from hawse.supervisor.network.names import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLink:
    """A device with our tag, or an untagged veth that only we could have named."""

    link: Link
    owner: Owner | None
    master: str = ""  # the name of the device that it is a port of
    addresses: tuple[IPv4Interface, ...] = ()
    routes: frozenset[IPv4Network] = frozenset()  # what the main table sends there


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the network: by name for links, as they are for elements; settings by path, None = not there."""

    links: dict[str, ObservedLink]
    elements: tuple[Element, ...]
    table_intact: bool
    firewall_mode: str
    sysctls: dict[str, str | None]
