"""Matches and targets of iptables that nftables has no words for: their structures as the kernel is given them.

linux/netfilter_ipv4/ip_tables.h (ipt_ip); linux/netfilter/xt_conntrack.h, xt_addrtype.h, xt_tcpudp.h, xt_mark.h,
xt_physdev.h.  Pure.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address

from hawse.supervisor.network.packet import Packet

VERDICTS = {
    **dict.fromkeys(("REJECT", "DROP"), 0),
    **dict.fromkeys(("ACCEPT", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "NFQUEUE", "TPROXY"), 1),
}
"""Targets that end the way of a packet: NF_DROP, NF_ACCEPT.  Others (LOG, MARK …) let it go on."""

_ANY = (0, 65_535)


def matches(name: str, revision: int, info: bytes, packet: Packet) -> bool:
    """Tell whether the packet meets it.  What is not known here, and so what it asks for, is met by none."""
    try:
        match name:
            case "comment" | "limit":
                return True
            case "conntrack":
                return _conntrack(revision, info, packet)
            case "addrtype":
                return _addrtype(revision, info, packet)
            case "tcp" | "udp":
                return _ports(name, info, packet)
            case "mark":
                mark, _, inverted = struct.unpack_from("=IIB", info)
                return bool((mark == 0) != bool(inverted))
            case "physdev":
                return len(info) > 65 and info[65] == 4 and bool(packet.bridge) != bool(info[64] & 4)  # OP_BRIDGED
    except struct.error:
        pass
    return False


def _conntrack(revision: int, info: bytes, packet: Packet) -> bool:
    """The state only: XT_CONNTRACK_STATE."""
    flags, inverted, state = struct.unpack_from("=HHH" if revision >= 2 else "=HHB", info, 146)
    if flags != 1:
        return False
    wanted = bool(state & packet.state) or bool(state & 0x80 and packet.status)  # XT_CONNTRACK_STATE_DNAT
    return wanted != bool(inverted & 1)


def _addrtype(revision: int, info: bytes, packet: Packet) -> bool:
    source, destination, flags, more = (
        (*struct.unpack_from("=HHI", info), 0) if revision else struct.unpack_from("=HHII", info)
    )
    inverted = flags & 2 if revision else more
    return not source and bool(destination & (1 << packet.destination_type)) != bool(inverted)


def is_addressed(head: bytes, packet: Packet) -> bool:
    """Tell whether addresses, devices and protocol are those that a rule of iptables-legacy begins with, a struct ipt_ip."""
    source, destination, source_mask, destination_mask = struct.unpack_from("=IIII", head)
    devices = struct.unpack_from("=16s16s16s16s", head, 16)
    protocol, flags, inverted = struct.unpack_from("=HBB", head, 80)
    met = (
        (_within(packet.source, source, source_mask), 0x08),  # IPT_INV_SRCIP
        (_within(packet.destination, destination, destination_mask), 0x10),
        (_is_device(packet.iif, devices[0], devices[2]), 0x01),
        (_is_device(packet.oif, devices[1], devices[3]), 0x02),
        (protocol in (0, packet.protocol), 0x40),
        (not flags & 0x01, 0x20),  # IPT_F_FRAG: only of fragments, and this is none
    )
    return all(one != bool(inverted & flag) for one, flag in met)


def _within(address: IPv4Address | None, wanted: int, mask: int) -> bool:
    if address is None:
        return not mask
    return int.from_bytes(address.packed, sys.byteorder) & mask == wanted


def _is_device(name: str, wanted: bytes, mask: bytes) -> bool:
    return all(a & m == b & m for a, b, m in zip(name.encode().ljust(16, b"\0"), wanted, mask, strict=True))


def _ports(name: str, info: bytes, packet: Packet) -> bool:
    """Revision 0 of both: two ranges; tcp has flags too."""
    low, high, to_low, to_high = struct.unpack_from("=HHHH", info)
    inverted = info[11] if name == "tcp" else info[8]
    if (low, high) != _ANY or packet.protocol != {"tcp": 6, "udp": 17}[name]:
        return False
    if (to_low, to_high) != _ANY:
        met = packet.port is not None and to_low <= packet.port <= to_high
        if met == bool(inverted & 2):
            return False
    if name == "tcp" and info[9]:
        return bool((0x02 & info[9] == info[10]) != bool(inverted & 4)) if packet.state == 8 else bool(inverted & 4)
    return True
