"""What the views need, read in one go and so from one instant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hawse.supervisor.api.engine_api import EngineApi
from hawse.supervisor.core.health import History
from hawse.supervisor.core.model import Container, ContainerId, Endpoint, ImageId
from hawse.supervisor.docker.view_container import Surroundings
from hawse.supervisor.lifecycle import network_files
from hawse.supervisor.linux.diskusage import sizes as measured
from hawse.supervisor.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Seen:
    container: Container
    endpoints: tuple[Endpoint, ...]


async def one(engine: EngineApi, ref: str) -> Seen:
    """By id, unique id prefix or name.  Raises NotFound."""

    def read(tx: Tx) -> Seen:
        container = tx.find(ref)
        return Seen(container, tuple(e for e in tx.endpoints(container.id) if e.connected_at))

    return await engine.store.read(read)


async def every(engine: EngineApi) -> list[Seen]:
    """All containers but those that remove themselves and have ended, oldest first."""

    def read(tx: Tx) -> list[Seen]:
        plugged: defaultdict[ContainerId, list[Endpoint]] = defaultdict(list)
        for endpoint in tx.endpoints():
            if endpoint.connected_at:  # one without is still being plugged
                plugged[endpoint.container_id].append(endpoint)
        return [Seen(c, tuple(plugged[c.id])) for c in tx.containers() if not c.is_leaving]

    found = await engine.store.read(read)
    return sorted(found, key=lambda seen: seen.container.created_at)


async def surroundings(
    engine: EngineApi, container: Container | None = None, size: tuple[int, int] | None = None
) -> Surroundings:
    """For one container's inspect, or for the lines of a list."""
    networks = await engine.networks.all()
    paths = engine.parts.places.of(container.id) if container else None
    owner = await engine.store.read(lambda tx: network_files.owner(tx, container)) if container else None
    provided = engine.parts.places.of(owner.id) if owner else None
    return Surroundings(
        network_ids={n.name: n.id for n in networks},
        volumes=str(engine.parts.places.volumes),
        log_path=str(paths.log) if paths and container and container.config.log_driver != "none" else "",
        etc_files=(str(provided.resolv_conf), str(provided.hostname), str(provided.hosts)) if provided else ("",) * 3,
        sizes=size,
        execs=tuple(engine.execs.running_in(container.id)) if container else (),
        health=engine.health.history(container.id) if container else History(),
    )


async def sizes(engine: EngineApi, seen: list[Seen]) -> list[tuple[int, int]]:
    """For each container, bytes that it wrote and bytes of its whole root."""
    written = await measured([engine.parts.places.of(s.container.id).upper for s in seen])
    images = {i.id: i.size for i in await engine.store.read(lambda tx: tx.images())}
    bases = (images.get(s.container.config.image_id or ImageId(""), 0) for s in seen)
    return [(size, size + base) for size, base in zip(written, bases, strict=True)]
