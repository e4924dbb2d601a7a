"""Matches and targets of iptables-nft that nftables has no words for: their structures as the kernel is given them.

linux/netfilter/xt_conntrack.h, xt_addrtype.h, xt_tcpudp.h, xt_mark.h, xt_physdev.h.  Pure.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hawse.supervisor.network.verdict import Packet

VERDICTS = {
    **dict.fromkeys(("REJECT", "DROP"), 0),
    **dict.fromkeys(("ACCEPT", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "NFQUEUE", "TPROXY"), 1),
}
"""Targets that end the way of a packet: NF_DROP, NF_ACCEPT.  Others (LOG, MARK …) let it go on."""

_ANY = (0, 65_535)


def matches(name: str, revision: int, info: bytes, packet: Packet) -> bool:
    """Whether the packet meets it.  What is not known here, and so what it asks for, is met by none."""
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
