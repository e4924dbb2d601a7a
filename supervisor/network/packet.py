"""A packet as rules look at it: what is known of it.  linux/netfilter/nf_tables.h.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from hawse.supervisor.linux.chains import INPUT

TCP, UDP = 6, 17
ESTABLISHED, NEW = 2, 8  # NF_CT_STATE_BIT
DNAT = 1 << 5  # IPS_DST_NAT
_LOCAL, _UNICAST = 2, 1  # RTN_*


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """Empty or None: not known, or, of devices, there is none.  `iif` and `oif` are ports in the bridge family's chains."""

    hook: int
    iif: str = ""
    oif: str = ""
    indexes: dict[str, int] = field(default_factory=dict)
    bridge: str = ""  # of a frame that stays on it
    source: IPv4Address | None = None
    destination: IPv4Address | None = None
    protocol: int = TCP
    port: int | None = None
    state: int = NEW
    status: int = 0

    @property
    def destination_type(self) -> int:
        return _LOCAL if self.hook == INPUT else _UNICAST

    def header(self, base: int) -> list[int | None]:
        """The bytes of the network (1) and the transport (2) header."""
        if base == 1:
            fixed: list[int | None] = [0x45, *[None] * 5, 0, 0, None, self.protocol, None, None]
            for address in (self.source, self.destination):
                fixed += list(address.packed) if address else [None] * 4
            return fixed
        if base == 2:
            port: list[int | None] = list(self.port.to_bytes(2, "big")) if self.port is not None else [None, None]
            flags = 0x02 if self.state == NEW else 0x10
            return [None, None, *port, *[None] * 9, *([flags] if self.protocol == TCP else [None]), *[None] * 6]
        return []
