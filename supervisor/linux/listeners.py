"""Which process of the host has a port: a real bind as the test, /proc for the name.

Only asked when a container starts.  We do not keep the socket (docker's proxy does): a process that binds the port later gets
no connections from outside, the translation comes first.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

from hawse.supervisor.errors import UserError
from hawse.supervisor.model import PortBinding

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_LISTEN = "0A"
MOST_LOOKS = 50_000
"""Sockets that are looked at for who has a port, and descriptors for what his name is: programs may have millions of both,
and nothing is written to the store meanwhile."""
NAMES_PORT = 53  # the only port on which this process listens for others: dns/ on gateways


def holder(binding: PortBinding) -> str:
    """ "process nginx (pid 12)" or "another process" when somebody listens there, "" when it is free.

    Raises UserError when the address is not one of this host.
    """
    protocol = socket.IPPROTO_SCTP if binding.proto == "sctp" else 0
    try:
        probe = socket.socket(socket.AF_INET, _KINDS[binding.proto], protocol)
    except OSError:  # this kernel has no SCTP sockets, so nobody listens on one
        return ""
    with closing(probe):
        if binding.proto != "udp":  # connections that are just ending do not count as a listener; udp has none
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(binding.host_ip or "0.0.0.0"), binding.host_port))
        except OSError as e:
            if e.errno == errno.EADDRNOTAVAIL:
                raise UserError(
                    f"failed to bind host port {binding.host_ip}:{binding.host_port}/{binding.proto}: "
                    "cannot assign requested address",
                    hint=f"{binding.host_ip} is not an address of this host",
                ) from e
            if e.errno == errno.EADDRINUSE:
                inodes = set(_inodes(binding))
                own = _own() if binding.host_port == NAMES_PORT else set()
                # Our own listen on gateways, for names, and the rules leave them what is sent there (network/ruleset.py).
                if inodes and inodes <= own and (binding.host_ip is None or binding.host_ip.is_unspecified):
                    return ""
                return _who(inodes - own or inodes) or "another process"
            raise
    return ""


def _own() -> set[str]:
    """Inodes of this process's sockets."""
    links = (_link(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def _who(inodes: set[str]) -> str:
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for place in itertools.islice(_descriptors(), MOST_LOOKS):
        if _link(place) in wanted:
            pid = place.split("/")[2]
            return f"process {_name(pid)} (pid {pid})"
    return ""


def _descriptors() -> Iterator[str]:
    """Of all processes, as /proc shows them."""
    for process in os.listdir("/proc"):
        if not process.isdecimal():
            continue
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
    """Of the sockets that listen on the port at an address which includes the binding's (proc_net_tcp: little-endian words).

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
