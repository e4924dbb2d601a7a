"""Clients that attach before there is anything to attach to.

`docker run` attaches to the created container, and `docker start -a` to an ended one, before they start it, so that no
output is missed.  Their sockets wait here and are handed to the shim when it is ready, before the program runs.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.runtime.client import AttachOptions, Shim


@dataclass(frozen=True, slots=True)
class Client:
    fd: int  # ours to close
    prefix: bytes
    options: AttachOptions

    @property
    def is_gone(self) -> bool:
        """The client hung up; a half-close (it has nothing more to say) is not that."""
        poll = select.poll()
        poll.register(self.fd, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


class Attachments:
    """Who waits for which container."""

    def __init__(self) -> None:
        self._waiting: dict[ContainerId, list[Client]] = {}

    def add(self, container_id: ContainerId, fd: int, prefix: bytes, options: AttachOptions) -> Client:
        """Keep a duplicate of `fd` until the container starts or is removed."""
        staying = []
        for client in self._waiting.get(container_id, ()):
            if client.is_gone:
                os.close(client.fd)
            else:
                staying.append(client)
        fresh = Client(os.dup(fd), prefix, options)
        self._waiting[container_id] = [*staying, fresh]
        return fresh

    def withdraw(self, container_id: ContainerId, client: Client) -> bool:
        """Hang up on one that still waits; False when it does not."""
        waiting = self._waiting.get(container_id, [])
        if client not in waiting:
            return False
        waiting.remove(client)
        os.close(client.fd)
        if not waiting:
            del self._waiting[container_id]
        return True

    async def hand_over(self, container_id: ContainerId, shim: Shim) -> None:
        """Give everybody who waits to the shim, in the order in which they came.  One that it refuses is hung up on."""
        waiting = self._waiting.pop(container_id, [])
        try:
            for client in waiting:
                try:
                    await shim.attach(client.fd, client.prefix, client.options)
                except HawseError:
                    continue  # the start itself fails when the shim is gone; a vanished client is nobody's failure
        finally:
            for client in waiting:
                os.close(client.fd)

    def drop(self, container_id: ContainerId) -> None:
        """It failed to start or is removed: hang up on those who wait for it."""
        for client in self._waiting.pop(container_id, []):
            os.close(client.fd)
