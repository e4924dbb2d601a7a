"""What packet filters are made of: chains, their rules' expressions, and the data in those, as nftables has them.

linux/netfilter/nf_tables.h; linux/netfilter.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hawse.supervisor.linux.netattr import attribute, attributes, text

LEGACY, INET, IPV4, BRIDGE = 0, 1, 2, 7  # NFPROTO_*; the first, which no table of nftables has, are iptables' own
FAMILIES = {LEGACY: "iptables-legacy", INET: "inet", IPV4: "ip", BRIDGE: "bridge"}
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)  # NF_INET_*, NF_BR_*
CONTINUE, BREAK, JUMP, GOTO, RETURN = -1, -2, -3, -4, -5  # NFT_*
DROP, ACCEPT = 0, 1  # NF_*
VALUE, VERDICT = 1, 2  # NFTA_DATA_*


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` None: one that others jump to.  `drops`: by its policy."""

    family: int
    table: str
    name: str
    hook: int | None = None
    drops: bool = False

    def __str__(self) -> str:
        return f"{FAMILIES[self.family]} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Expression:
    """`kind` is the kernel's name: meta, cmp, immediate …; its attributes by number."""

    kind: str
    attributes: dict[int, bytes]

    def number(self, kind: int, default: int = 0) -> int:
        return int.from_bytes(self.attributes[kind], "big") if kind in self.attributes else default

    def word(self, kind: int) -> str:
        return word(self.attributes.get(kind, b""))


@dataclass(frozen=True, slots=True)
class Data:
    """What an expression compares with, or where it leads: `code` is a verdict's, `chain` where it jumps."""

    value: bytes = b""
    code: int | None = None
    chain: str = ""


def data(raw: bytes) -> Data:
    """NFTA_DATA_*: a value or a verdict."""
    fields = attributes(raw)
    if VERDICT in fields:
        verdict = attributes(fields[VERDICT])
        return Data(code=struct.unpack(">i", verdict[1])[0], chain=word(verdict.get(2, b"")))
    return Data(value=fields.get(VALUE, b""))


def verdict(code: int, chain: str = "") -> Expression:
    """Return one that only says where the packet goes."""
    return Expression("immediate", {2: attribute(VERDICT, attribute(1, struct.pack(">i", code)) + text(2, chain))})


def word(raw: bytes) -> str:
    """Text as the kernel has it, which ends with a zero."""
    return raw.partition(b"\0")[0].decode(errors="replace")
