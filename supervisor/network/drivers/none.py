"""The driver `null` of the network `none`: there is nothing to make, and containers have their loopback only."""

from __future__ import annotations

import socket

from hawse.supervisor.core.errors import Forbidden
from hawse.supervisor.core.model import Endpoint, Network
from hawse.supervisor.network.driver import Edges, Expected, Spec, Surroundings, Traits


class Null:
    """Its one network is always there."""

    name = "null"
    traits = Traits(connects=False)

    def __init__(self, _: Edges) -> None: ...

    def validate(self, spec: Spec, host: Surroundings) -> Network:
        raise Forbidden(f'only one instance of "{self.name}" network is allowed')

    def expected(self, network: Network) -> Expected:
        return Expected()

    async def ensure(self, network: Network) -> None: ...
    async def remove(self, network: Network) -> None: ...
    async def plug(self, network: Network, endpoint: Endpoint, inside: socket.socket, pid: int) -> None: ...
    async def unplug(self, network: Network, endpoint: Endpoint, grace: float) -> None: ...
    async def attach(self, network: Network, endpoint: Endpoint) -> None: ...
