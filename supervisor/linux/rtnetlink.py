"""Links, addresses, routes and neighbours as netlink requests and answers (rtnetlink(7)).  Builds and parses, sends nothing."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hawse.supervisor.linux.device import Link, Route
from hawse.supervisor.linux.netattr import attribute, attributes, nest, text, u32
from hawse.supervisor.linux.netlink import CREATE, EXCL, REPLACE, Message

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_DELNEIGH = 29
RTM_NEWNETCONF = 80
GROUP_LINK = 1  # RTNLGRP_LINK
AF_INET, AF_INET6, AF_BRIDGE, AF_UNSPEC = 2, 10, 7, 0
IFF_UP = 1
DEVICE_GROUP = 1751217509
"""The group of every device that we make, from its first moment on: by it cli/install/packaged/84-hawse.rules knows them."""
RTPROT_HAWSE = 104  # our mark on routes; the numbers from 64 on without a name are free for anyone (rtnetlink.h)

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_NET_NS_PID, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_EXT_MASK = 19, 20, 26, 27, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxHiHBB")

# IFLA_INET6_ADDR_GEN_MODE none: no link-local IPv6 address, hence no detection traffic and no way around the IPv4 rules.
_NO_IPV6 = nest(IFLA_AF_SPEC, nest(AF_INET6, attribute(8, b"\x01")))

# A bridge port may send back out where it received: IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA { IFLA_BRPORT_MODE }.
_HAIRPIN = nest(IFLA_LINKINFO, text(4, "bridge"), nest(5, attribute(4, b"\x01")))


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _link(index: int = 0, up: bool = False, family: int = AF_UNSPEC) -> bytes:
    return _LINK.pack(family, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)


def create_veth(name: str, *, peer: str, netns_pid: int, peer_mac: str, master: int, mtu: int) -> Message:
    """A veth pair: `name` up and on the bridge here, `peer` in the namespace of `netns_pid`.

    The peer cannot be brought up by this message (ENOTCONN, the other end does not exist yet).
    """
    inside = _link() + text(IFLA_IFNAME, peer) + attribute(IFLA_ADDRESS, _mac(peer_mac)) + u32(IFLA_MTU, mtu)
    info = nest(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inside + u32(IFLA_NET_NS_PID, netns_pid)))
    return Message(
        RTM_NEWLINK,
        CREATE | EXCL,
        _link(up=True)
        + text(IFLA_IFNAME, name)
        + u32(IFLA_MTU, mtu)
        + u32(IFLA_MASTER, master)
        + u32(IFLA_GROUP, DEVICE_GROUP)
        + nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), info),
        f"create veth {name}",
    )


def create_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """A bridge without spanning tree and listening delay.

    The explicit address matters: a bridge without one takes the lowest of its ports', so that the containers' gateway
    would change its MAC as containers come and go.
    """
    data = nest(IFLA_INFO_DATA, u32(IFLA_BR_FORWARD_DELAY, 0), u32(IFLA_BR_STP_STATE, 0))
    return Message(
        RTM_NEWLINK,
        CREATE | EXCL,
        _link()
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, _mac(mac))
        + u32(IFLA_MTU, mtu)
        + u32(IFLA_GROUP, DEVICE_GROUP)
        + nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"), data),
        f"create bridge {name}",
    )


def set_link(
    name: str,
    *,
    up: bool = False,
    alias: str | None = None,
    master: int | None = None,
    group: int | None = None,
    no_ipv6: bool = False,
    hairpin: bool = False,
    tolerate: tuple[int, ...] = (),
) -> Message:
    """Change the link called `name`."""
    payload = _link(up=up) + text(IFLA_IFNAME, name)
    if alias is not None:
        payload += text(IFLA_IFALIAS, alias)
    if master is not None:
        payload += u32(IFLA_MASTER, master)
    if group is not None:
        payload += u32(IFLA_GROUP, group)
    if no_ipv6:
        payload += _NO_IPV6
    if hairpin:
        payload += _HAIRPIN
    # Only the first looks at what belongs to the master; without NLM_F_CREATE it makes nothing.
    return Message(RTM_NEWLINK if hairpin else RTM_SETLINK, 0, payload, f"set link {name}", tolerate)


def delete_link(name: str) -> Message:
    """Gone already is success."""
    return Message(RTM_DELLINK, 0, _link() + text(IFLA_IFNAME, name), f"delete link {name}", (errno.ENODEV,))


def delete_group(group: int) -> Message:
    """All links of a group in one unregistration, which waits for the kernel's grace periods once and not once a link."""
    return Message(RTM_DELLINK, 0, _link() + u32(IFLA_GROUP, group), f"delete links of group {group}", (errno.ENODEV,))


def get_link(name: str) -> Message:
    payload = _link() + text(IFLA_IFNAME, name) + u32(IFLA_EXT_MASK, SKIP_STATISTICS)
    return Message(RTM_GETLINK, 0, payload, f"get link {name}")


def dump_links() -> Message:
    return Message(RTM_GETLINK, 0, _link() + u32(IFLA_EXT_MASK, SKIP_STATISTICS), "list links")


def parse_link(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = attributes(payload, _LINK.size)
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_text(found.get(IFLA_IFNAME)),
        kind=_text(info.get(IFLA_INFO_KIND)),
        alias=_text(found.get(IFLA_IFALIAS)),
        master=_number(found.get(IFLA_MASTER)),
        mtu=_number(found.get(IFLA_MTU)),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & IFF_UP),
        running=bool(flags & 0x40),  # IFF_RUNNING
        forwarding=attributes(info.get(5, b"")).get(1) == b"\x03",  # IFLA_INFO_SLAVE_DATA { IFLA_BRPORT_STATE }
    )


def add_address(index: int, address: IPv4Interface) -> Message:
    """There already is success."""
    packed = address.ip.packed
    broadcast = address.network.broadcast_address.packed
    return Message(
        RTM_NEWADDR,
        CREATE | REPLACE,
        _ADDRESS.pack(AF_INET, address.network.prefixlen, 0, 0, index)
        + attribute(2, packed)  # IFA_LOCAL
        + attribute(1, packed)  # IFA_ADDRESS
        + attribute(4, broadcast),
        f"add address {address}",
        (errno.EEXIST,),
    )


def dump_addresses() -> Message:
    return Message(RTM_GETADDR, 0, _ADDRESS.pack(AF_INET, 0, 0, 0, 0), "list addresses")


def parse_address(payload: bytes) -> tuple[int, IPv4Interface]:
    """(index of the link, address)."""
    _, prefix, _, _, index = _ADDRESS.unpack_from(payload)
    found = attributes(payload, _ADDRESS.size)
    return index, IPv4Interface((found.get(2) or found[1], prefix))


def default_route(gateway: IPv4Address, index: int) -> Message:
    """0.0.0.0/0 through the gateway; one that is there already stays, and is success."""
    payload = _ROUTE.pack(AF_INET, 0, 0, 0, 254, RTPROT_HAWSE, 0, 1, 0)  # table main, scope universe, unicast
    return Message(
        RTM_NEWROUTE,
        CREATE | EXCL,
        payload + attribute(5, gateway.packed) + u32(4, index),
        f"route through {gateway}",
        (errno.EEXIST,),
    )


def connected_route(address: IPv4Interface, index: int) -> Message:
    """The route that the kernel makes with an address; there already is success."""
    payload = _ROUTE.pack(AF_INET, address.network.prefixlen, 0, 0, 254, 2, 253, 1, 0)  # main, proto kernel, scope link
    return Message(
        RTM_NEWROUTE,
        CREATE | EXCL,
        payload
        + attribute(1, address.network.network_address.packed)
        + u32(4, index)
        + attribute(7, address.ip.packed),
        f"route to {address.network}",
        (errno.EEXIST,),
    )


def dump_routes() -> Message:
    return Message(RTM_GETROUTE, 0, _ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), "list routes")


def parse_route(payload: bytes) -> Route:
    _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
    found = attributes(payload, _ROUTE.size)
    destination = found.get(1, bytes(4))
    return Route(
        network=IPv4Network((destination, length), strict=False),
        index=_number(found.get(4)),
        table=_number(found.get(15)) or table,
        kind=kind,
    )


def parse_forwarding(payload: bytes) -> tuple[int, bool | None]:
    """Read an RTM_NEWNETCONF: (index of the link, -1 for all and -2 for new ones; whether it forwards, None for other news)."""
    found = attributes(payload, 4)  # struct netconfmsg is one byte, padded
    (index,) = struct.unpack("=i", found.get(1, bytes(4)))  # NETCONFA_IFINDEX
    forwards = found.get(2)  # NETCONFA_FORWARDING
    return index, None if forwards is None else any(forwards)


def delete_neighbour(index: int, address: IPv4Address) -> Message:
    """Forget the MAC that the host remembers for an address."""
    payload = _NEIGHBOUR.pack(AF_INET, 0, index, 0, 0, 0) + attribute(1, address.packed)
    return Message(RTM_DELNEIGH, 0, payload, f"forget neighbour {address}", (errno.ENOENT, errno.ENODEV))


def _text(value: bytes | None) -> str:
    return value.rstrip(b"\0").decode(errors="replace") if value else ""


def _number(value: bytes | None) -> int:
    return int(struct.unpack("=I", value)[0]) if value else 0
