"""Flows of addresses and ports that change hands, forgotten in the background thread of the kernel's flow table.

Many at once are done in one pass: while one is being forgotten the others queue up.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address

from hawse.supervisor.linux.conntrack import Conntrack
from hawse.supervisor.linux.worker import Worker


class Flows:
    """Where the kernel has no connection tracking to talk to, there is nothing to forget."""

    def __init__(self) -> None:
        self._worker = Worker("conntrack")
        self._conntrack: Conntrack | None = None
        self._addresses: set[IPv4Address] = set()

    def start(self) -> None:
        if Conntrack.available():
            self._conntrack = Conntrack()

    def close(self) -> None:
        self._worker.close()
        if self._conntrack is not None:
            self._conntrack.close()

    async def forget_address(self, address: IPv4Address) -> None:
        """Whoever has the address next does not get the packets of who had it."""
        if self._conntrack is not None:
            self._addresses.add(address)
            await self._worker.run(self._forget_addresses, self._conntrack)

    async def forget_ports(self, ports: Collection[tuple[str, int]]) -> None:
        """(protocol, host port): the next packet of a flow that was there before the port was published is translated."""
        if self._conntrack is not None and ports:
            await self._worker.run(self._conntrack.forget_ports, ports)

    def _forget_addresses(self, conntrack: Conntrack) -> None:
        queued = {self._addresses.pop() for _ in range(len(self._addresses))}
        if queued:
            conntrack.forget_addresses(queued)
