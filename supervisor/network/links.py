"""Devices: bridges, and the veths that are the cables.  All rtnetlink requests of the daemon run in one thread here.

A cable is pulled by its other end: when the last process of a network namespace is gone the kernel removes the veths of
all dying namespaces together, where deleting them one by one waits for the grace periods of each (3.9 s for 100 against
0.1 s).  So `gone` first waits for the kernel to say that the link is gone, and deletes only what then is still there, all
of it in one request.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeVar

import anyio

from hawse.supervisor.core.errors import Conflict, KernelError, Unavailable
from hawse.supervisor.linux import rtnetlink
from hawse.supervisor.linux.device import Link, Route
from hawse.supervisor.linux.netlink import Channel, Message, news, parse
from hawse.supervisor.linux.worker import Worker

T = TypeVar("T")
EVENT_BUFFER = 4 << 20
EXFULL = 54
FORWARDING_PATIENCE = 1.0  # seconds
DOOMED_GROUP = 0x6861_7773  # "haws": links that are being deleted together


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A veth pair and what its inner end is given."""

    name: str
    alias: str
    bridge: str
    mtu: int
    ifname: str
    mac: str
    address: IPv4Interface
    gateway: IPv4Address | None  # None: no default route
    hairpin: bool  # what it sends may come back to it


@dataclass(slots=True)
class _Loose:
    """A cable that is to be put on its bridge, and why that did not work."""

    cable: Cable
    error: KernelError | None = None


class Links:
    """The devices of the network namespace in which `start` is called."""

    def __init__(self) -> None:
        self._worker = Worker("rtnetlink")
        self._channel: Channel | None = None
        self._events: socket.socket | None = None
        self._waiting: dict[str, set[anyio.Event]] = {}
        self._doomed: set[str] = set()
        self._loose: deque[_Loose] = deque()

    async def start(self) -> None:
        self._channel = Channel.open()
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        events.setblocking(False)
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER)
        events.bind((0, 1 << (rtnetlink.GROUP_LINK - 1)))
        self._events = events
        asyncio.get_running_loop().add_reader(events.fileno(), self._seen)

    async def close(self) -> None:
        if self._events is not None:
            asyncio.get_running_loop().remove_reader(self._events.fileno())
            self._events.close()
        self._worker.close()
        if self._channel is not None:
            self._channel.close()

    # Looking.

    async def find(self, name: str) -> Link | None:
        return await self._worker.run(self._find, name)

    async def all(self) -> list[Link]:
        return await self._worker.run(self._dump, rtnetlink.dump_links(), rtnetlink.parse_link)

    async def addresses(self) -> list[tuple[int, IPv4Interface]]:
        """(index of the link, IPv4 address)."""
        return await self._worker.run(self._dump, rtnetlink.dump_addresses(), rtnetlink.parse_address)

    async def routes(self) -> list[Route]:
        return await self._worker.run(self._dump, rtnetlink.dump_routes(), rtnetlink.parse_route)

    # Bridges.

    async def make_bridge(self, name: str, *, alias: str, mac: str, mtu: int) -> bool:
        """Make a bridge, not up yet; False when it is there.  Raises Conflict when that device is not ours."""
        return await self._worker.run(self._make_bridge, name, alias, mac, mtu)

    async def raise_bridge(self, name: str, address: IPv4Interface) -> None:
        """Give it its address and bring it up; done already is success."""
        await self._worker.run(self._raise_bridge, name, address)

    # Cables.

    async def plug(self, cable: Cable, inside: socket.socket, pid: int) -> None:
        """Lay the cable between its bridge and the namespace of `pid`, whose netlink socket is `inside`.

        Raises Conflict (a foreign device has the name, the bridge is full), KernelError; nothing stays then.
        """
        await self._worker.run(self._plug, cable, inside, pid)

    async def rehearse(self, inside: socket.socket, pid: int) -> None:
        """A bridge and a cable on it, made in the network namespace of `pid`, which is to end soon.  Raises KernelError."""

        def lay() -> None:
            channel = Channel(inside)
            mac = "02:00:00:00:00:01"
            channel.run([rtnetlink.create_bridge("bridge", mac=mac, mtu=1500)])
            bridge = rtnetlink.parse_link(channel.get(rtnetlink.get_link("bridge")) or b"").index
            cable = rtnetlink.create_veth("cable", peer="end", netns_pid=pid, peer_mac=mac, master=bridge, mtu=1500)
            channel.run(
                [cable, rtnetlink.set_link("bridge", up=True), rtnetlink.set_link("end", up=True, no_ipv6=True)]
            )

        await self._worker.run(lay)

    async def raise_loopback(self, inside: socket.socket) -> None:
        await self._worker.run(lambda: Channel(inside).run([rtnetlink.set_link("lo", up=True)]))

    async def lead(self, ifname: str, gateway: IPv4Address, inside: socket.socket) -> None:
        """A default route through that device; one that is there already stays."""

        def route() -> None:
            channel = Channel(inside)
            if found := channel.get(rtnetlink.get_link(ifname)):
                channel.run([rtnetlink.default_route(gateway, rtnetlink.parse_link(found).index)])

        await self._worker.run(route)

    async def attach(self, cable: Cable) -> None:
        """The host's end on its bridge and up, as `plug` left it.  Those that are waiting for the thread go together."""
        loose = _Loose(cable)
        self._loose.append(loose)
        await self._worker.run(self._attach_all)
        if loose.error is not None:
            raise loose.error

    async def gone(self, name: str, alias: str, grace: float) -> None:
        """Return when the link is gone; it gets `grace` seconds to go by itself.  A foreign one of that name is left alone."""
        deadline = anyio.current_time() + grace
        while True:
            with self._expect(name) as deleted:
                link = await self.find(name)
                if link is None or link.alias not in (alias, ""):
                    return
                with anyio.move_on_at(deadline) as patience:
                    await deleted.wait()
            if patience.cancelled_caught:
                await self.delete(name)

    async def delete(self, name: str) -> None:
        """Gone already is success.  Deletions that are waiting for the thread are done together."""
        self._doomed.add(name)
        await self._worker.run(self._reap)

    @contextmanager
    def _expect(self, name: str) -> Iterator[anyio.Event]:
        """An event for the next deletion of a link of that name."""
        deleted = anyio.Event()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(deleted)
        try:
            yield deleted
        finally:
            waiting.discard(deleted)
            if not waiting:
                self._waiting.pop(name, None)

    # In the event loop, when the kernel has news.

    def _seen(self) -> None:
        assert self._events is not None
        for data in news(self._events):
            if not data:  # some were lost: everybody looks again
                for name in list(self._waiting):
                    self._tell(name)
            for kind, _, _, payload in parse(data) if self._waiting else ():
                # A bridge announces a port that leaves it as a deletion too, of family AF_BRIDGE; the link lives on.
                if kind == rtnetlink.RTM_DELLINK and payload[0] != rtnetlink.AF_BRIDGE:
                    self._tell(rtnetlink.parse_link(payload).name)

    def _tell(self, name: str) -> None:
        for deleted in self._waiting.get(name, ()):
            deleted.set()

    # In the worker's thread from here on.

    @property
    def _route(self) -> Channel:
        if self._channel is None:
            raise Unavailable("the network core has not been started")
        return self._channel

    def _find(self, name: str) -> Link | None:
        payload = self._route.get(rtnetlink.get_link(name))
        return rtnetlink.parse_link(payload) if payload is not None else None

    def _dump(self, request: Message, parse_one: Callable[[bytes], T]) -> list[T]:
        return [parse_one(payload) for payload in self._route.dump(request)]

    def _make_bridge(self, name: str, alias: str, mac: str, mtu: int) -> bool:
        link = self._find(name)
        if link is None:
            create = rtnetlink.create_bridge(name, mac=mac, mtu=mtu)
            self._route.run([create, rtnetlink.set_link(name, alias=alias, no_ipv6=True)])
        elif link.kind != "bridge" or link.alias != alias:
            raise Conflict(
                f"device {name} exists already and is not of this network",
                hint=f"give the network another name, or remove the device: ip link delete {name}",
            )
        return link is None

    def _raise_bridge(self, name: str, address: IPv4Interface) -> None:
        index = _index(name)
        self._route.run(
            [
                rtnetlink.add_address(index, address),
                rtnetlink.set_link(name, up=True),
                rtnetlink.connected_route(address, index),  # somebody may have deleted just that
            ]
        )

    def _plug(self, cable: Cable, inside: socket.socket, pid: int) -> None:
        try:
            self._create(cable, pid)
        except KernelError as e:
            if e.errno == EXFULL:
                raise Conflict(
                    f"network device {cable.bridge} is full",
                    hint="a bridge takes 1023 containers; use a second network",
                ) from e
            raise
        try:
            channel = Channel(inside)
            found = channel.get(rtnetlink.get_link(cable.ifname))
            if found is None:  # the pid was another's by now
                raise KernelError("plug", errno.ESRCH, f"{cable.name}: {cable.ifname} is not in the container")
            index = rtnetlink.parse_link(found).index
            messages = [
                rtnetlink.set_link("lo", up=True),
                rtnetlink.set_link(cable.ifname, up=True, no_ipv6=True),
                rtnetlink.add_address(index, cable.address),
            ]
            if cable.gateway is not None:
                messages.append(rtnetlink.default_route(cable.gateway, index))
            channel.run(messages)
            self._wait_forwarding([cable])
        except BaseException:
            self._route.run([rtnetlink.delete_link(cable.name)])
            raise

    def _wait_forwarding(self, cables: Sequence[Cable]) -> None:
        """The port hears of the carrier from a kernel thread, and then the bridge of the port; before, packets are dropped.

        The first connection would take a second (the first SYN is lost).  Nearly always one look suffices; under a storm
        of dying namespaces the kernel thread waits for the RTNL lock, as we do.
        """
        deadline = time.monotonic() + FORWARDING_PATIENCE
        waiting = list(cables)
        while (waiting := [c for c in waiting if not self._is_forwarding(c)]) and time.monotonic() < deadline:
            time.sleep(0.0005)
        # What the host knows of the address is old: whoever had it before may have had another MAC (--mac-address), and a
        # question that was asked while the cable was out would be asked again only after a second.
        self._route.run([rtnetlink.delete_neighbour(_index(cable.bridge), cable.address.ip) for cable in cables])

    def _is_forwarding(self, cable: Cable) -> bool:
        port, bridge = self._find(cable.name), self._find(cable.bridge)
        if port is None or bridge is None or not bridge.up:  # it never will, which is not the cable's fault
            return True
        return port.forwarding and bridge.running

    def _attach_all(self) -> None:
        """A bridge that somebody has deleted leaves all its cables loose at once."""
        loose = [self._loose.popleft() for _ in range(len(self._loose))]
        messages = []
        for one in loose:
            try:
                master = _index(one.cable.bridge)
            except KernelError as e:
                one.error = e
                continue
            cable = one.cable
            messages.append((one, rtnetlink.set_link(cable.name, up=True, alias=cable.alias, master=master)))
        failures = self._route.attempt([message for _, message in messages]) if messages else []
        for (one, message), failure in zip(messages, failures, strict=True):
            if failure:
                one.error = KernelError(message.what, *failure)
        laid = [one for one in loose if one.error is None]
        if laid:
            try:
                self._wait_forwarding([one.cable for one in laid])
            except KernelError as e:
                for one in laid:
                    one.error = e

    def _create(self, cable: Cable, pid: int) -> None:
        """The pair and its tag in one send: no crash can come between them."""
        master = _index(cable.bridge)
        messages = [
            rtnetlink.create_veth(
                cable.name, peer=cable.ifname, netns_pid=pid, peer_mac=cable.mac, master=master, mtu=cable.mtu
            ),
            rtnetlink.set_link(cable.name, alias=cable.alias, no_ipv6=True, hairpin=cable.hairpin),
        ]
        there = self._find(cable.name)
        if there is not None:
            if there.kind != "veth" or there.alias not in (cable.alias, ""):
                raise Conflict(f"device {cable.name} exists already and is not this container's", hint=there.alias)
            self._route.run([rtnetlink.delete_link(cable.name)])
        self._route.run(messages)

    def _reap(self) -> None:
        """Delete what is doomed by now: a group of links goes in one unregistration."""
        doomed = [self._doomed.pop() for _ in range(len(self._doomed))]
        if len(doomed) == 1:
            self._route.run([rtnetlink.delete_link(doomed[0])])
        elif doomed:
            gone = (errno.ENODEV,)
            grouped = [rtnetlink.set_link(name, group=DOOMED_GROUP, tolerate=gone) for name in doomed]
            self._route.run([*grouped, rtnetlink.delete_group(DOOMED_GROUP)])


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as e:
        raise KernelError("find device", errno.ENODEV, name) from e
