"""Devices and routes as the kernel describes them.  Pure: plans compare them with the records."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device as the kernel describes it.  `alias` is where our owner tag is."""

    index: int
    name: str
    kind: str = ""
    alias: str = ""
    master: int = 0
    mtu: int = 0
    mac: str = ""
    up: bool = False
    running: bool = False  # up, with a carrier, and its queue is open
    forwarding: bool = False  # as a port of its bridge it passes packets on


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An IPv4 route; `index` is the device's, 0 for those without one."""

    network: IPv4Network
    index: int
    table: int
    kind: int  # 1 = unicast
