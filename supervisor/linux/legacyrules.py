"""The rules of iptables-legacy, which the kernel keeps beside nftables: each table is one block of entries.  IPv4's only.

A rule becomes the expressions that iptables-nft would have made of it, so that one reader follows both; its addresses,
devices and protocol are one expression, "ip".  Looking loads no module: only tables that are there are asked for.
linux/netfilter_ipv4/ip_tables.h (ipt_getinfo, ipt_entry); linux/netfilter/x_tables.h (xt_entry_match, xt_entry_target).
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hawse.supervisor.linux.chains import ACCEPT, DROP, GOTO, JUMP, LEGACY, RETURN, Chain, Expression, verdict, word
from hawse.supervisor.linux.syscalls import failure, libc

_TABLES = Path("/proc/thread-self/net/ip_tables_names")
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_*
_INFO = struct.Struct("=32sI5I5III")
"""Name, valid hooks, where the entries of each begin, where its policy is, how many entries there are, and their size."""
_NAME = struct.Struct("=32sI4x")
_HEAD, _IP = 112, 84  # bytes of an entry before its matches; of them, of its ipt_ip
_DATA = 32  # bytes of a match or target before its data
_FLAGS, _IPT_F_GOTO = 82, 0x02  # where an ipt_ip has its flags, and one of them
_CODES = {-1: DROP, -2: ACCEPT, -4: ACCEPT, -5: RETURN}  # -NF_* - 1, XT_RETURN; what is queued is another's affair
_ATTEMPTS = 3  # a table that is replaced between the question for its size and that for its entries is not given


@dataclass(slots=True)
class _Table:
    entries: bytes
    chains: dict[str, tuple[int, int]] = field(default_factory=dict)  # name → where its rules begin and end
    starts: dict[int, str] = field(default_factory=dict)


class LegacyRules:
    """One look; part of a Ruleset's.  Raises OSError."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._rules: dict[Chain, list[list[Expression]]] = {}

    def chains(self) -> Iterator[Chain]:
        try:
            names = _TABLES.read_text().split()
        except FileNotFoundError:  # the module is not loaded
            return
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            for name in names:
                if found := _read(sock, name):
                    yield from self._chains(name, *found)

    def rules(self, chain: Chain) -> list[list[Expression]]:
        if chain not in self._rules:
            table = self._tables[chain.table]
            self._rules[chain] = [list(_rule(table, at)) for at in _entries(table.entries, *table.chains[chain.name])]
        return self._rules[chain]

    def _chains(self, name: str, info: tuple[int, ...], entries: bytes) -> Iterator[Chain]:
        """A hook's chain ends with its policy.  Others follow, each behind a target ERROR that has its name."""
        table = self._tables[name] = _Table(entries)
        valid, begins, policies = info[0], info[1:6], info[6:11]
        for hook, chain in enumerate(_HOOKS):
            if valid & 1 << hook:
                table.chains[chain] = begins[hook], policies[hook]
                (policy,) = _rule(table, policies[hook])
                yield Chain(LEGACY, name, chain, hook, drops=policy == verdict(DROP))
        last = ""
        for at in _entries(entries, 0, len(entries)):
            target, body = _target(entries, at)
            if target == "ERROR":
                if last:
                    table.chains[last] = table.chains[last][0], at
                    yield Chain(LEGACY, name, last)
                last, start = word(body), at + _size(entries, at)
                table.chains[last], table.starts[start] = (start, start), last


def _read(sock: socket.socket, name: str) -> tuple[tuple[int, ...], bytes] | None:
    """Return what there is to know of a table, and its entries; None when it is gone."""
    for attempt in range(_ATTEMPTS):
        try:
            info = _INFO.unpack(_ask(sock, _GET_INFO, name.encode().ljust(_INFO.size, b"\0")))
            size = info[-1]
            head = _NAME.pack(name.encode(), size)
            return info[1:], _ask(sock, _GET_ENTRIES, head + bytes(size))[len(head) :]
        except OSError as e:
            if e.errno == errno.ENOENT:
                return None
            if e.errno != errno.EAGAIN or attempt + 1 == _ATTEMPTS:
                raise
    return None


def _ask(sock: socket.socket, option: int, question: bytes) -> bytes:
    """getsockopt(2) with something to read in its buffer, which socket.getsockopt has not."""
    buffer, length = ctypes.create_string_buffer(question, len(question)), ctypes.c_uint(len(question))
    if libc.getsockopt(sock.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(length)) < 0:
        raise failure("read the rules of iptables-legacy")
    return buffer.raw


def _entries(entries: bytes, at: int, end: int) -> Iterator[int]:
    while at < end:
        yield at
        at += _size(entries, at)


def _size(entries: bytes, at: int) -> int:
    return int(struct.unpack_from("=H", entries, at + 90)[0])


def _target(entries: bytes, at: int) -> tuple[str, bytes]:
    (begin,) = struct.unpack_from("=H", entries, at + 88)
    name, _, body = _part(entries, at + begin)
    return name, body


def _part(entries: bytes, at: int) -> tuple[str, int, bytes]:
    """A match or target: its name, revision and data."""
    size, name, revision = struct.unpack_from("=H29sB", entries, at)
    return word(name), revision, entries[at + _DATA : at + size]


def _rule(table: _Table, at: int) -> Iterator[Expression]:
    entries = table.entries
    target, following = struct.unpack_from("=HH", entries, at + 88)
    head = entries[at : at + _IP]
    if any(head):
        yield Expression("ip", {1: head})
    part = at + _HEAD
    while part < at + target:
        name, revision, body = _part(entries, part)
        yield Expression("match", {1: name.encode(), 2: revision.to_bytes(4, "big"), 3: body})
        part += int(struct.unpack_from("=H", entries, part)[0])
    name, body = _target(entries, at)
    if name:
        yield Expression("target", {1: name.encode()})
        return
    (where,) = struct.unpack_from("=i", body)
    if where < 0:
        yield verdict(_CODES[where])
    elif where != at + following:  # a rule without a target leads to the next
        yield verdict(GOTO if head[_FLAGS] & _IPT_F_GOTO else JUMP, table.starts[where])
