"""What becomes of one packet in somebody's chain: the rules followed as the kernel follows them.

The packet is one like any other: it has what is known of it (devices, protocol, state of its connection, the container's
address), and of what is not known nothing that a rule asks for.  So an address that somebody has blocked does not matter,
and a chain that lets through only what it names drops it.  Registers are the kernel's: sixteen of four bytes, None what is
not known.  linux/netfilter/nf_tables.h; compatible matches of iptables: linux/netfilter/xt_*.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from hawse.supervisor.linux.chains import (
    ACCEPT,
    BREAK,
    CONTINUE,
    DROP,
    GOTO,
    JUMP,
    RETURN,
    Chain,
    Data,
    Expression,
    data,
)
from hawse.supervisor.linux.nftrules import Ruleset
from hawse.supervisor.network import xtables
from hawse.supervisor.network.packet import Packet

MOST_RULES, DEEPEST = 20_000, 16  # that are followed; the kernel allows 16 jumps
_ENDS = {"nat": ACCEPT, "masq": ACCEPT, "redir": ACCEPT, "tproxy": ACCEPT, "queue": ACCEPT, "reject": DROP}


@dataclass(frozen=True, slots=True)
class Dropped:
    """Where: the base chain, and the chain whose policy or rule it was."""

    base: Chain
    by: Chain


def dropped(ruleset: Ruleset, base: Chain, packet: Packet) -> Dropped | None:
    """None when the chain lets it through, or has too many rules to tell."""
    walk = _Walk(ruleset, packet)
    verdict = walk.through(base, 0)
    if verdict is None:
        verdict, walk.by = (DROP if base.drops else ACCEPT), base
    return Dropped(base, walk.by) if verdict == DROP and walk.by is not None else None


class _Walk:
    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self._ruleset, self._packet = ruleset, packet
        self._left = MOST_RULES
        self.by: Chain | None = None

    def through(self, chain: Chain, depth: int) -> int | None:
        """The verdict; None at the chain's end."""
        for rule in self._ruleset.rules(chain):
            self._left -= 1
            if self._left < 0 or depth > DEEPEST:
                return ACCEPT
            outcome = self._rule(chain, rule)
            if outcome.code in (DROP, ACCEPT):
                self.by = chain
                return outcome.code
            if outcome.code == RETURN:
                return None
            if outcome.code in (JUMP, GOTO):
                there = self._ruleset.chains().get((chain.family, chain.table, outcome.chain))
                verdict = self.through(there, depth + 1) if there else None
                if verdict is not None or outcome.code == GOTO:
                    return verdict
        return None

    def _rule(self, chain: Chain, rule: list[Expression]) -> Data:
        """The verdict of one rule; code CONTINUE when it does not match, or has none."""
        registers: list[bytes | None] = [None] * 16
        for expression in rule:
            outcome = self._apply(chain, expression, registers)
            if outcome is not None:
                return outcome if outcome.code != BREAK else Data(code=CONTINUE)
        return Data(code=CONTINUE)

    def _apply(self, chain: Chain, expression: Expression, registers: list[bytes | None]) -> Data | None:
        """None: go on with the next expression."""
        kind = expression.kind
        if kind in _ENDS:
            return Data(code=_ENDS[kind])
        if kind == "ip":
            return None if xtables.is_addressed(expression.attributes[1], self._packet) else Data(code=BREAK)
        if kind == "match":
            info = expression.attributes.get(3, b"")
            met = xtables.matches(expression.word(1), expression.number(2), info, self._packet)
            return None if met else Data(code=BREAK)
        if kind == "target":
            code = xtables.VERDICTS.get(expression.word(1))
            return None if code is None else Data(code=code)
        if kind == "immediate":
            found = data(expression.attributes[2])
            if found.code is not None:
                return found if found.code not in (CONTINUE, 2, 3) else Data(code=ACCEPT)  # stolen, queued: theirs
            _write(registers, expression.number(1), found.value)
        elif kind == "lookup":
            return self._lookup(chain, expression, registers)
        elif kind in _TESTS:
            return None if _TESTS[kind](expression, registers) else Data(code=BREAK)
        elif kind == "limit":
            return Data(code=BREAK) if expression.number(5) & 1 else None  # NFT_LIMIT_F_INV: it is within the limit
        elif kind in ("connlimit", "quota", "osf", "socket"):
            return Data(code=BREAK)
        elif kind == "bitwise":
            _bitwise(expression, registers)
        elif kind == "byteorder":
            _write(registers, expression.number(2), None, expression.number(4))
        elif 1 in expression.attributes and kind in _LOADS:
            value, length = _LOADS[kind](expression, self._packet)
            _write(registers, expression.number(1), value, length)
        return None

    def _lookup(self, chain: Chain, expression: Expression, registers: list[bytes | None]) -> Data | None:
        name = expression.word(1)
        key = _read(registers, expression.number(2), self._ruleset.key_length(chain, name))
        found = self._ruleset.element(chain, name, key) if key else None
        if (found is not None) == bool(expression.number(5) & 1):  # NFT_LOOKUP_F_INV
            return Data(code=BREAK)
        if found is not None and 3 in expression.attributes:
            if found.code is not None:
                return found
            _write(registers, expression.number(3), found.value)
        return None


def _slot(register: int) -> int:
    return (register - 1) * 4 if register < 8 else register - 8


def _write(registers: list[bytes | None], register: int, value: bytes | None, length: int = 0) -> None:
    first, count = _slot(register), ((len(value) if value is not None else length) + 3) // 4
    for i in range(count):
        if 0 <= first + i < 16:
            registers[first + i] = None if value is None else value[4 * i : 4 * i + 4].ljust(4, b"\0")


def _read(registers: list[bytes | None], register: int, length: int) -> bytes | None:
    slots = registers[_slot(register) :][: (length + 3) // 4]
    known = [slot for slot in slots if slot is not None]
    return b"".join(known)[:length] if len(known) == len(slots) else None


def _compare(expression: Expression, registers: list[bytes | None]) -> bool:
    wanted, operation = data(expression.attributes[3]).value, expression.number(2)
    there = _read(registers, expression.number(1), len(wanted))
    if there is None:  # a flag that is not known to be there is not there; anything else is another than what is named
        return operation == 1 and any(wanted)
    return (
        there == wanted,
        there != wanted,
        there < wanted,
        there <= wanted,
        there > wanted,
        there >= wanted,
    )[operation]


def _range(expression: Expression, registers: list[bytes | None]) -> bool:
    low, high = data(expression.attributes[3]).value, data(expression.attributes[4]).value
    there = _read(registers, expression.number(1), len(low))
    return (there is not None and low <= there <= high) != bool(expression.number(2))


def _bitwise(expression: Expression, registers: list[bytes | None]) -> None:
    length = expression.number(3)
    there = _read(registers, expression.number(1), length)
    if there is None or 4 not in expression.attributes:  # a shift
        _write(registers, expression.number(2), None, length)
        return
    mask, xor = (data(expression.attributes[i]).value for i in (4, 5))
    _write(registers, expression.number(2), bytes((a & m) ^ x for a, m, x in zip(there, mask, xor, strict=False)))


Loaded = tuple[bytes | None, int]


def _meta(expression: Expression, packet: Packet) -> Loaded:
    key = expression.number(2)
    if key in (6, 7):  # NFT_META_IIFNAME, OIFNAME
        name = (packet.iif, packet.oif)[key - 6]
        return (name.encode().ljust(16, b"\0") if name else None), 16
    if key in (17, 18):  # NFT_META_BRI_IIFNAME, BRI_OIFNAME
        return (packet.bridge.encode().ljust(16, b"\0") if packet.bridge else None), 16
    if key in (4, 5):  # NFT_META_IIF, OIF
        index = packet.indexes.get((packet.iif, packet.oif)[key - 4], 0)
        return (index.to_bytes(4, sys.byteorder) if index else None), 4
    known = {
        1: b"\x08\x00",  # NFT_META_PROTOCOL: ETH_P_IP
        3: bytes(4),  # NFT_META_MARK
        15: bytes([2]),  # NFT_META_NFPROTO
        16: bytes([packet.protocol]),
        19: bytes([0]),  # NFT_META_PKTTYPE: to this host
    }
    return known.get(key), 4


def _ct(expression: Expression, packet: Packet) -> Loaded:
    known = {0: packet.state, 2: packet.status, 3: 0}  # NFT_CT_STATE, STATUS, MARK
    value = known.get(expression.number(2))
    return (None if value is None else value.to_bytes(4, sys.byteorder)), 4


def _payload(expression: Expression, packet: Packet) -> Loaded:
    base, offset, length = (expression.number(i) for i in (2, 3, 4))
    there = packet.header(base)[offset : offset + length]
    known = bytes(byte for byte in there if byte is not None)
    return (known if len(known) == length else None), length


def _fib(expression: Expression, packet: Packet) -> Loaded:
    if expression.number(2) == 3 and expression.number(3) & 2:  # NFT_FIB_RESULT_ADDRTYPE, of the destination
        return struct.pack("=I", packet.destination_type), 4
    return None, 16


_LOADS: dict[str, Callable[[Expression, Packet], Loaded]] = {"meta": _meta, "ct": _ct, "payload": _payload, "fib": _fib}
_TESTS: dict[str, Callable[[Expression, list[bytes | None]], bool]] = {"cmp": _compare, "range": _range}
