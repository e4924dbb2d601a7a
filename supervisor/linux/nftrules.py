"""The rules of every nftables table, iptables-nft's included, as the kernel keeps them: chains, rules, elements.

Those of iptables-legacy are beside them (legacyrules.py).

By netlink and not by libnftables, because it is asked for after every change that anybody makes: a dump of the base chains
takes 10 µs, the library first reads all tables (a third of a second with ten thousand rules, in the thread that starts wait
for), and it does not show what a compatible match of iptables compares with.  linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux.chains import FAMILIES, LEGACY, VALUE, Chain, Data, Expression, data, word
from hawse.supervisor.linux.legacyrules import LegacyRules
from hawse.supervisor.linux.netattr import attribute, attributes, nest, text
from hawse.supervisor.linux.netlink import Channel, Message

NETLINK_NETFILTER = 12

_GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENT = (10 << 8 | message for message in (4, 7, 10, 13))
_TABLE, _NAME, _HOOK, _POLICY = 1, 3, 4, 5  # NFTA_CHAIN_*
_RULE_CHAIN, _RULE_EXPRESSIONS = 2, 4
_SET_NAME, _SET_KEY_LENGTH = 2, 5
_ELEMENT_KEY, _ELEMENT_DATA = 1, 2


class Ruleset:
    """One look; what was read once is remembered.  Synchronous, for a worker thread.  Raises KernelError, OSError."""

    def __init__(self) -> None:
        self._channel = Channel.open(NETLINK_NETFILTER)
        self._rules: dict[Chain, list[list[Expression]]] = {}
        self._legacy = LegacyRules()
        self._chains: dict[tuple[int, str, str], Chain] | None = None

    def close(self) -> None:
        self._channel.close()

    def chains(self) -> dict[tuple[int, str, str], Chain]:
        """By family, table and name."""
        if self._chains is None:
            found = [_chain(p) for p in self._channel.dump(Message(_GET_CHAIN, 0, _head(0), "list chains"))]
            found += self._legacy.chains()
            self._chains = {(c.family, c.table, c.name): c for c in found if c.family in FAMILIES}
        return self._chains

    def rules(self, chain: Chain) -> list[list[Expression]]:
        if chain.family == LEGACY:
            return self._legacy.rules(chain)
        if chain not in self._rules:
            wanted = _head(chain.family) + text(1, chain.table) + text(_RULE_CHAIN, chain.name)
            rows = self._channel.dump(Message(_GET_RULE, 0, wanted, f"list rules of {chain}"))
            heads = ((row, attributes(row, 4)) for row in rows)
            self._rules[chain] = [
                list(_expressions(head.get(_RULE_EXPRESSIONS, b"")))
                for _, head in heads
                if word(head.get(_RULE_CHAIN, b"")) == chain.name  # an old kernel ignores the filter
            ]
        return self._rules[chain]

    def key_length(self, chain: Chain, name: str) -> int:
        """Bytes of a key of a set in the chain's table; 0 when there is none of that name."""
        found = self._get(_GET_SET, chain, text(_SET_NAME, name), f"get set {name}")
        return int.from_bytes(attributes(found, 4).get(_SET_KEY_LENGTH, b""), "big") if found else 0

    def element(self, chain: Chain, name: str, key: bytes) -> Data | None:
        """Return what a set or map of the chain's table has for a key; None when it is not in it."""
        wanted = nest(3, nest(1, nest(_ELEMENT_KEY, attribute(VALUE, key))))
        found = self._get(_GET_ELEMENT, chain, text(2, name) + wanted, f"get element of {name}")
        if found is None:
            return None
        (element,) = _list(attributes(found, 4).get(3, b"")) or ({},)
        return data(element.get(_ELEMENT_DATA, b""))

    def _get(self, kind: int, chain: Chain, rest: bytes, what: str) -> bytes | None:
        try:
            return self._channel.get(Message(kind, 0, _head(chain.family) + text(1, chain.table) + rest, what))
        except KernelError:
            return None  # a type of set that cannot be asked for one key


def _head(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _chain(payload: bytes) -> Chain:
    fields = attributes(payload, 4)
    hook = attributes(fields[_HOOK]) if _HOOK in fields else {}
    return Chain(
        family=payload[0],
        table=word(fields[_TABLE]),
        name=word(fields[_NAME]),
        hook=int.from_bytes(hook[1], "big") if 1 in hook else None,
        drops=int.from_bytes(fields.get(_POLICY, b"\1"), "big") == 0,  # NF_DROP
    )


def _expressions(raw: bytes) -> Iterator[Expression]:
    for item in _list(raw):
        yield Expression(word(item.get(1, b"")), attributes(item.get(2, b"")))


def _list(raw: bytes) -> list[dict[int, bytes]]:
    """NFTA_LIST_ELEM one after the other."""
    found, offset = [], 0
    while offset + 4 <= len(raw):
        length, _ = struct.unpack_from("=HH", raw, offset)
        if length < 4:
            break
        found.append(attributes(raw[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found
