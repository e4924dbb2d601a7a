"""The engine and its parts as the daemon makes them, over a test's directory, with nothing started of what needs a kernel.

Store, images, locks, waits, places and the networks' drivers are the real ones.  A test that wants a part to fail, or to
do what only a kernel can, puts one method of it in another's place with `monkeypatch`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import anyio

from hawse.supervisor.core.model import Endpoint, Network, Obstacle
from hawse.supervisor.engine import Engine
from hawse.supervisor.images.images import Images
from hawse.supervisor.lifecycle.execs import Execs
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.network.drivers.registry import Registry
from hawse.supervisor.network.subnets import LiveRoute
from hawse.supervisor.parts import Live, Parts
from hawse.supervisor.process.config import Config
from hawse.supervisor.process.reload import Settings
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.runtime.places import Places
from hawse.supervisor.store.store import Store


class NoSpawner(Spawner):
    """One that nobody started; what asks it for a shim fails."""

    def __init__(self) -> None:
        pass


class NoCables(NetworkCore):
    """Its drivers plan as they always do; nothing is made of it, and nothing is in the way."""

    async def live_routes(self) -> list[LiveRoute]:
        return []

    async def obstacles(self, networks: Sequence[Network]) -> dict[str, tuple[Obstacle, ...]]:
        return {}

    async def ensure(self, network: Network) -> None: ...

    async def remove(self, network: Network) -> None: ...

    async def raise_loopback(self, netlink: socket.socket) -> None: ...

    async def plug(
        self, network: Network, endpoint: Endpoint, netlink: socket.socket, pid: int, took: dict[str, int] | None = None
    ) -> Endpoint:
        return endpoint

    async def unplug(self, network: Network, endpoint: Endpoint, *, grace: float = 0) -> None: ...

    async def attach(self, network: Network, endpoint: Endpoint) -> None: ...

    async def publish(self, endpoint: Endpoint) -> None: ...

    async def lead(self, network: Network, endpoint: Endpoint, netlink: socket.socket) -> None: ...


async def make_parts(root: Path, store: Store, clock: Callable[[], int]) -> Parts:
    """As `__main__` does it.  Who waits for events has `live.waits.told` subscribed to the journal, as serving.py does."""
    config = Config(
        root=root,
        run_dir=root / "run",
        hooks_dir=root / "hooks.d",
        vendor_hooks_dir=root / "vendor-hooks.d",
        handlers_dir=root / "handlers.d",
    )
    places = Places.under(config)
    places.make()
    return Parts(
        settings=Settings(config=config),
        store=store,
        network=NoCables(instance=config.instance, table=config.table, tag=config.tag, drivers=Registry),
        spawner=NoSpawner(),
        images=await Images.open(root, store, clock),
        cgroups=Hierarchy(name="hawse", v2=None),
        clock=clock,
        random=Random(1),
        places=places,
        live=Live.over(store),
    )


@contextmanager
def idle_engine(parts: Parts) -> Iterator[Engine]:
    """Without its tasks: no handler runs, and nobody follows a container to its end."""
    engine = Engine(parts, (), Execs(parts, anyio.create_task_group()), lambda _: None)
    with engine.health._wanted, engine.health._to_watch:  # its task would close them
        yield engine
