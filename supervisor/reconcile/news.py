"""What the kernel says about our network as it happens: links, addresses, routes, forwarding and nftables.

A watcher only reports: it calls `damaged(reason, by)` when something that is expected went, and the plan decides; and
`foreign()` when rules that are not ours were changed.  What hawse does itself must not wake it, so it knows which devices are
expected (`Expected`, kept by the journal) and which netlink ports are this process's own.  Messages: rtnetlink(7);
linux/netfilter/nf_tables.h, NFT_MSG_*.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from hawse.supervisor.linux.netattr import attributes
from hawse.supervisor.linux.netlink import news
from hawse.supervisor.linux.rtnetlink import (
    AF_BRIDGE,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWNETCONF,
    parse_address,
    parse_forwarding,
    parse_link,
    parse_route,
)
from hawse.supervisor.linux.sockbuf import set_receive_buffer

Damaged = Callable[[str, str], None]
"""Called with what happened and, where the kernel tells, who did it: "nft[1234]"."""

RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF = 1, 5, 7, 24
ALL_DEVICES = -1  # NETCONFA_IFINDEX_ALL
ROUTE_GROUPS = (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF)
RTM_DELADDR = 21
NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN = 15
NFTA_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE
NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME = 2, 3
NFGENMSG = 4  # bytes of struct nfgenmsg before the attributes
BUFFER = 8 << 20
_HEADER = struct.Struct("=IHHII")


@dataclass(slots=True)
class Expected:
    """Devices that have to be there: cables of running containers, and those of networks."""

    cables: dict[str, str] = field(default_factory=dict)  # device → the one that it is a port of, "" for none
    devices: set[str] = field(default_factory=set)


class NetlinkWatch:
    """Two sockets in the event loop; made in the network namespace that it watches."""

    def __init__(self, table: str, expected: Expected, damaged: Damaged, foreign: Callable[[], None]) -> None:
        self._table = table.encode() + b"\0"
        self._expected = expected
        self._damaged = damaged
        self._foreign = foreign
        self._own_ports: frozenset[int] = frozenset()
        self._touched = self._touched_others = False
        self._sockets = (
            (_subscribed(socket.NETLINK_ROUTE, *ROUTE_GROUPS), self._route_message),
            (_subscribed(NETLINK_NETFILTER, NFNLGRP_NFTABLES), self._nft_message),
        )
        loop = asyncio.get_running_loop()
        for sock, handle in self._sockets:
            loop.add_reader(sock.fileno(), self._drain, sock, handle)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock, _ in self._sockets:
            loop.remove_reader(sock.fileno())
            sock.close()

    def _drain(self, sock: socket.socket, handle: Callable[[int, int, bytes], None]) -> None:
        for data in news(sock):
            if not data:
                self._damaged("notifications were lost", "")  # look at everything
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, _, port = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    break
                handle(kind, port, data[offset + _HEADER.size : offset + length])
                offset += (length + 3) & ~3

    def _route_message(self, kind: int, _port: int, payload: bytes) -> None:
        if kind in (RTM_NEWLINK, RTM_DELLINK) and payload[0] != AF_BRIDGE:
            link = parse_link(payload)
            master = self._expected.cables.get(link.name)
            if master is None and link.name not in self._expected.devices:
                return
            if kind == RTM_DELLINK:
                self._damaged(f"link {link.name} deleted", "")
            elif not link.up:
                self._damaged(f"link {link.name} down", "")
            elif master is not None and link.master != _index(master):
                self._damaged(f"link {link.name} off its device", "")
        elif kind == RTM_DELADDR:
            index, address = parse_address(payload)
            if any(_index(device) == index for device in self._expected.devices):
                self._damaged(f"address {address} removed", "")
        elif kind == RTM_DELROUTE:
            route = parse_route(payload)
            if any(_index(device) == route.index for device in self._expected.devices):
                self._damaged(f"route to {route.network} removed", "")
        elif kind == RTM_NEWNETCONF and self._expected.devices and parse_forwarding(payload) == (ALL_DEVICES, False):
            self._damaged("ip_forward switched off", "")

    def _nft_message(self, kind: int, port: int, payload: bytes) -> None:
        """Read one message: a transaction is a run of messages that ends with its generation, which names who made it."""
        if kind >> 8 != NFNL_SUBSYS_NFTABLES:
            return
        found = attributes(payload, NFGENMSG)
        if kind & 0xFF != NFT_MSG_NEWGEN:
            ours = found.get(NFTA_TABLE) == self._table
            self._touched |= ours
            self._touched_others |= not ours
            return
        if self._touched_others:
            self._foreign()
        touched, self._touched, self._touched_others = self._touched, False, False
        if not touched or self._is_ours(port):
            return
        pid = int.from_bytes(found.get(NFTA_GEN_PROC_PID, b"\0"), "big")
        name = found.get(NFTA_GEN_PROC_NAME, b"").rstrip(b"\0").decode(errors="replace")
        self._damaged("nftables table changed", f"{name}[{pid}]" if name else "")

    def _is_ours(self, port: int) -> bool:
        """By netlink port: a pid would not do, the message has the one of the initial pid namespace."""
        if port not in self._own_ports:
            self._own_ports = _own_ports()
        return port in self._own_ports


def _subscribed(protocol: int, *groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    set_receive_buffer(sock, BUFFER)
    sock.bind((0, sum(1 << (group - 1) for group in groups)))
    return sock


def _own_ports() -> frozenset[int]:
    """Ports of this process's netfilter sockets: /proc/net/netlink lists them all, our descriptors say which are ours."""
    inodes = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open("/proc/self/net/netlink") as f:
        rows = [line.split() for line in f][1:]
    return frozenset(int(row[2]) for row in rows if int(row[1]) == NETLINK_NETFILTER and row[-1] in inodes)


def _index(name: str) -> int:
    """0 without such a device."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
