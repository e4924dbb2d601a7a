"""Forgetting connections: the kernel's flow table (ctnetlink), so that nobody's packets follow a flow that has ended.

A UDP sender that goes on keeps its flow alive for ever, translated to an address that another container may have by now, or not
translated at all though the port is published meanwhile (moby#36069, #8795).
"""

from __future__ import annotations

import errno
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux.netattr import attribute, attributes, nest
from hawse.supervisor.linux.netlink import Channel, Message

NETLINK_NETFILTER = 12
FEW = 2  # up to here one pass of the kernel over its table for each address and direction beats one dump for all
MANY, SHARE = 256, 30
"""And for an address with more flows than this that are more than one in 30 of all: to take one to pieces and delete it
costs 12 µs and holds up every thread of ours, the kernel's two looks at it a quarter of one."""
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_GET, _DELETE, _STATISTICS = 1 << 8 | 1, 1 << 8 | 2, 1 << 8 | 5  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25  # CTA_*
_SOURCE, _PROTOCOL, _TO_PORT = 1 << 0, 1 << 3, 1 << 5  # CTA_FILTER_F_*
_HEAD = struct.pack("=BBH", 2, 0, 0)  # nfgenmsg: AF_INET


@dataclass(frozen=True, slots=True)
class Flow:
    """The addresses and ports of both directions, and what identifies the flow for deletion."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    to_port: int
    reply_source: IPv4Address
    identity: bytes


class Conntrack:
    """Synchronous; for a worker thread."""

    def __init__(self) -> None:
        self._channel = Channel.open(NETLINK_NETFILTER)
        self._filtered = True  # the kernel can delete by filter (about Linux 6.12)

    @classmethod
    def available(cls) -> bool:
        """Tell whether the kernel has ctnetlink and we may use it."""
        try:
            channel = Channel.open(NETLINK_NETFILTER)
        except OSError:
            return False
        try:
            channel.get(Message(_STATISTICS, 0, _HEAD, "connection tracking"))
        except KernelError:
            return False
        finally:
            channel.close()
        return True

    def close(self) -> None:
        self._channel.close()

    def forget_addresses(self, addresses: Collection[IPv4Address]) -> None:
        """Delete the flows that come from these addresses or are translated to them."""
        if self._filtered and len(addresses) <= FEW and self._delete_from(addresses):
            return
        wanted = {a.packed: a for a in addresses}
        # Most flows are somebody else's: look for the bytes of CTA_IP_V4_SRC before taking a flow to pieces.
        source = re.compile(b"\x08\x00\x01\x00(%s)" % b"|".join(map(re.escape, wanted)), re.DOTALL)
        table = self._dump()
        found = [match for flow in table if (match := source.search(flow))]
        limit = max(MANY, len(table) // SHARE)
        busy = {wanted[packed] for packed, count in Counter(match[1] for match in found).items() if count > limit}
        if busy and self._filtered and self._delete_from(busy):
            if others := [a for a in wanted.values() if a not in busy]:
                self.forget_addresses(others)
            return
        candidates = (_parse(match.string) for match in found)
        self._delete(f for f in candidates if f and (f.source.packed in wanted or f.reply_source.packed in wanted))

    def forget_ports(self, ports: Collection[tuple[str, int]]) -> None:
        """Delete the flows to these (protocol, port), whatever the address, so that new rules apply to the next packet."""
        if self._filtered and self._delete_by_filter([_by_port(PROTOCOLS[p], port) for p, port in ports]):
            return
        wanted = {(PROTOCOLS[p], port) for p, port in ports}
        self._delete(f for f in self.flows() if (f.protocol, f.to_port) in wanted)

    def flows(self) -> list[Flow]:
        """All IPv4 flows."""
        return [f for f in map(_parse, self._dump()) if f]

    def _dump(self) -> list[bytes]:
        return self._channel.dump(Message(_GET, 0, _HEAD, "list flows"))

    def _delete_from(self, addresses: Iterable[IPv4Address]) -> bool:
        """Delete as `_delete_by_filter` does."""
        return self._delete_by_filter([m for a in addresses for m in (_by_source(_ORIGINAL, a), _by_source(_REPLY, a))])

    def _delete_by_filter(self, messages: list[Message]) -> bool:
        """False when this kernel reads the request as one for a single flow, in which case it did nothing."""
        for failure in self._channel.attempt(messages):
            if failure and failure[0] != errno.ENOENT:
                self._filtered = False
                return False
        return True

    def _delete(self, flows: Iterable[Flow]) -> None:
        messages = [Message(_DELETE, 0, _HEAD + f.identity, "forget flow", (errno.ENOENT,)) for f in flows]
        for start in range(0, len(messages), 256):
            self._channel.run(messages[start : start + 256])


def _by_source(direction: int, address: IPv4Address) -> Message:
    """Flows whose source in `direction` is `address`.

    The tuple stays in the message: a kernel without this filter then looks for the one flow with that incomplete tuple
    and answers EINVAL, where a message without a tuple would make it delete all flows.
    """
    ip = nest(1, attribute(1, address.packed), attribute(2, address.packed))
    chosen = nest(_FILTER, _flags(1, _SOURCE * (direction == _ORIGINAL)), _flags(2, _SOURCE * (direction == _REPLY)))
    return Message(_DELETE, 0, _HEAD + nest(direction, ip) + chosen, f"forget flows of {address}")


def _by_port(protocol: int, port: int) -> Message:
    proto = nest(2, attribute(1, bytes([protocol])), attribute(3, struct.pack("!H", port)))
    chosen = nest(_FILTER, _flags(1, _PROTOCOL | _TO_PORT), _flags(2, 0))
    return Message(_DELETE, 0, _HEAD + nest(_ORIGINAL, proto) + chosen, f"forget flows to port {port}")


def _flags(kind: int, flags: int) -> bytes:
    return attribute(kind, struct.pack("=I", flags))


def _parse(payload: bytes) -> Flow | None:
    found = attributes(payload, 4)
    original, reply = attributes(found[_ORIGINAL]), attributes(found[_REPLY])
    ip, back = attributes(original[1]), attributes(reply[1])
    if 1 not in ip or 1 not in back:
        return None
    proto = attributes(original[2])
    return Flow(
        protocol=proto[1][0],
        source=IPv4Address(ip[1]),
        destination=IPv4Address(ip[2]),
        to_port=int.from_bytes(proto.get(3, b"")),
        reply_source=IPv4Address(back[1]),
        identity=attribute(_ORIGINAL | 0x8000, found[_ORIGINAL]) + attribute(_ID, found[_ID]),
    )
