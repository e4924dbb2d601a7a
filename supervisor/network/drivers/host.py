"""The driver `host` of the network of that name: containers have the host's devices, there is nothing to make."""

from __future__ import annotations

from hawse.supervisor.network.drivers.none import Null


class Host(Null):
    name = "host"
