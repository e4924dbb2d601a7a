"""Which process of the host has a port, found in /proc: for the words in which a start is refused."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from ipaddress import IPv4Address

from hawse.supervisor.core.model import PortBinding

_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_LISTEN = "0A"
MOST_LOOKS = 50_000
"""Sockets that are looked at for who has a port, and descriptors for what his name is: programs may have millions of both,
and nothing is written to the store meanwhile."""


def who_has(binding: PortBinding) -> str:
    """ "process nginx (pid 12)" of somebody who listens there, "" when it is not found out."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(binding)}
    for place in itertools.islice(_descriptors(), MOST_LOOKS) if wanted else ():
        if _link(place) in wanted:
            pid = place.split("/")[2]
            return f"process {_name(pid)} (pid {pid})"
    return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def _descriptors() -> Iterator[str]:
    """List all processes' descriptors as /proc has them; ours last: what we have beside others (port 53) is in nobody's way."""
    own = str(os.getpid())
    for process in sorted(filter(str.isdecimal, os.listdir("/proc")), key=own.__eq__):
        try:
            with os.scandir(f"/proc/{process}/fd") as entries:
                yield from (entry.path for entry in entries)
        except OSError:  # it has ended, or is not ours to see
            continue


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"


def _inodes(binding: PortBinding) -> Iterator[str]:
    """List the inodes of sockets that listen on the port at an address which includes the binding's (little-endian words).

    Those that listen come first in the tables of TCP.
    """
    port = f":{binding.host_port:04X} "
    for table in _TABLES.get(binding.proto, ()):
        try:
            with open(f"/proc/net/{table}") as file:
                lines = [line for line in itertools.islice(file, 1, MOST_LOOKS) if port in line]
        except OSError:  # no IPv6
            continue
        for fields in map(str.split, lines):
            address, _, own_port = fields[1].partition(":")
            if own_port != port[1:5] or (binding.proto == "tcp" and fields[3] != _LISTEN):
                continue
            local = IPv4Address(bytes.fromhex(address[-8:])[::-1])
            if binding.host_ip is None or local.is_unspecified or local == binding.host_ip:
                yield fields[9]
