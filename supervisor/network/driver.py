"""What a network driver is: it knows what a kind of network is made of, and makes, mends and removes that.

The core asks it and does the rest: published ports, flows, locks, the undoing.  A driver decides nothing about containers
and keeps no state of its own: what it makes follows from the records, so that each call can be repeated after a crash.
Every device that it makes on the host carries `names.tag` as its alias from the same message on; what has no such tag is
never touched, and what has the tag of a network or endpoint that is gone is swept.

Drivers of other packages are found by the entry-point group `hawse.network_drivers` (drivers/registry.py): the name is the
one that users give (`network create -d NAME`), the object is called with the `Edges` and returns the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Protocol

from hawse.supervisor.core.model import Endpoint, Network, NetworkName
from hawse.supervisor.network.elements import Element
from hawse.supervisor.network.subnets import LiveRoute

if TYPE_CHECKING:
    import socket

    from hawse.supervisor.network.firewall import Firewall
    from hawse.supervisor.network.links import Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What its networks can do, so that a wish they cannot fulfil is refused before anything is done."""

    connects: bool = True  # containers are connected to them and taken off
    routed: bool = (
        False  # their packets go through the host's rules: ports can be published, and other programs' rules can drop
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A network as somebody asks for it; addresses are what he wrote, "" for what he leaves open."""

    id: str
    name: NetworkName
    created_at: int
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is taken already on this host, and what may be chosen from."""

    instance: str
    pools: Sequence[str]
    routes: Sequence[LiveRoute]
    networks: Sequence[Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of a network that has to be there, up, and what has to be on it.  `what` names it to people.

    `settings` are the sysctls that it needs, by their path in /proc/sys: a device may have a dot in its name.
    """

    name: str
    what: str = "device"
    address: IPv4Interface | None = None
    route: IPv4Network | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a network needs to be there.  The plan compares it with what is."""

    devices: tuple[Device, ...] = ()
    elements: tuple[Element, ...] = ()
    master: str | None = None
    """The device that the host's ends of its cables are ports of, "" for none; None when a cable has no end on the host."""

    problem: str = ""  # why nothing can be said; then the network is left as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What a driver works with: the devices and the table of the namespace that the daemon is in, and how things are tagged."""

    links: Links
    firewall: Firewall
    mark: str


class Driver(Protocol):
    """Calls for one network are never side by side; endpoints of a network may be plugged and unplugged side by side."""

    traits: Traits

    def validate(self, spec: Spec, host: Surroundings) -> Network:
        """The network that is to be made, with the subnet and the gateway from which containers get their addresses.

        Pure: nothing is done yet.  Raises UserError, Conflict, Forbidden.
        """
        ...

    def expected(self, network: Network) -> Expected:
        """Return what has to be there for it.  Pure, and cheap: asked at every look."""
        ...

    async def ensure(self, network: Network) -> None:
        """Make, or make right, all that is expected; done already is success.

        Raises Conflict when a foreign device is in the way; what was begun is undone then.
        """
        ...

    async def remove(self, network: Network) -> None:
        """Take it all away; gone is success, a foreign device stays.  Raises TeardownError."""
        ...

    async def plug(self, network: Network, endpoint: Endpoint, inside: socket.socket, pid: int) -> None:
        """Lay the cable to the network namespace of `pid`, addressed and up, `lo` as well.

        `inside` is a NETLINK_ROUTE socket of that namespace.  A cable that a crash has left is replaced.  Raises Conflict,
        KernelError; `unplug` is called then.
        """
        ...

    async def unplug(self, network: Network, endpoint: Endpoint, grace: float) -> None:
        """Return when nothing of the cable is on the host any more; gone is success.  Needs nothing but the records.

        `grace` is how many seconds a dying namespace may take to pull it itself.
        """
        ...

    async def attach(self, network: Network, endpoint: Endpoint) -> None:
        """Put the host's end of a cable right, where that is there.  Raises KernelError when it is gone."""
        ...


Make = Callable[[Edges], Driver]
"""What a driver is registered as."""


class Drivers(Protocol):
    """Drivers by name."""

    def find(self, name: str) -> Driver:
        """Raises NotFound when nobody provides it, Unavailable when it cannot be loaded."""
        ...

    def is_known(self, name: str) -> bool:
        """Tell whether `find` answers without looking what is installed."""
        ...
