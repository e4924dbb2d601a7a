"""What the engine is made of, as one typed value: built in __main__, passed explicitly, looked up nowhere.

    Parts    the edges (settings, store, network, spawner, images, cgroups, clock, random), and two values beside them:
    .places  where files are (runtime/places.py)
    .live    what only this process knows of what runs

`Context` is what a handler is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random
from typing import Protocol, Self

from hawse.supervisor.core.model import Container, ContainerId, NetworkName
from hawse.supervisor.images.images import Images
from hawse.supervisor.journal.waits import Waits
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy
from hawse.supervisor.linux.heldports import HeldPorts
from hawse.supervisor.linux.sharedport import SharedPort
from hawse.supervisor.locks import KeyedLocks
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.process.config import Config
from hawse.supervisor.process.reload import Settings
from hawse.supervisor.runtime.attaching import Attachments
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.runtime.places import Places
from hawse.supervisor.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What only this process knows of what runs: gone with it, and made anew by recovery."""

    waits: Waits
    names_port: SharedPort
    ports: HeldPorts
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    shims: dict[ContainerId, Shim] = field(default_factory=dict)
    followed_execs: set[str] = field(default_factory=set)  # those whose end this process will record
    attachments: Attachments = field(default_factory=Attachments)
    name_servers: dict[NetworkName, IPv4Address] = field(default_factory=dict)  # networks whose names we answer for
    removals: dict[NetworkName, bool] = field(default_factory=dict)  # under way; True: nobody is plugged in any more

    @classmethod
    def over(cls, store: Store) -> Self:
        """Nothing runs yet; `waits` hears of events when it is subscribed to the store's journal."""
        names_port = SharedPort()
        return cls(waits=Waits(lambda: store.journal.head), names_port=names_port, ports=HeldPorts(names_port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The edges, and with them `places` and `live`.  Who needs one of the three only is given that one."""

    settings: Settings
    store: Store
    network: NetworkCore
    spawner: Spawner
    images: Images
    cgroups: Hierarchy
    clock: Callable[[], int]  # ns since the Unix epoch
    random: Random
    places: Places
    live: Live

    @property
    def config(self) -> Config:
        """In force at this moment: a reload may put another in its place."""
        return self.settings.config


class Verbs(Protocol):
    """Of the engine, what handlers may ask for.  `ref` = id, unique prefix of one, or name; errors as engine.py says."""

    async def container(self, ref: str) -> Container: ...
    async def containers(self) -> list[Container]: ...
    async def start(self, ref: str, *, by_policy: bool = False) -> Container: ...
    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None: ...
    async def restart(self, ref: str, timeout: int | None = None) -> None: ...
    async def kill(self, ref: str, signal: int) -> None: ...
    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None: ...
    async def remove_ended(self, container_id: ContainerId) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a handler may use: the records, the network core, the running shims, and the engine's verbs."""

    parts: Parts
    engine: Verbs
