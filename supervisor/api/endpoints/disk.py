"""Endpoints about space: system df, and pruning what nobody uses."""

from __future__ import annotations

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import look
from hawse.supervisor.api.endpoints.look import Seen
from hawse.supervisor.api.endpoints.volumes import kept
from hawse.supervisor.api.endpoints.volumes import view as volume_view
from hawse.supervisor.core.errors import Conflict, HawseError, NotFound, UserError
from hawse.supervisor.core.model import State
from hawse.supervisor.docker import view_container, view_image
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.query import parse_timestamp
from hawse.supervisor.lifecycle.networks import BUILTIN, DEFAULT
from hawse.supervisor.linux.diskusage import sizes
from hawse.supervisor.network.teardown import Teardown

FILTERS = frozenset("label label! until".split())
_ENDED = (State.CREATED, State.EXITED, State.DEAD)


async def usage(call: Call) -> web.StreamResponse:
    """GET /system/df: sizes of images, containers and volumes."""
    seen = await look.every(call.engine)
    images, volumes = await call.engine.store.read(lambda tx: (tx.images(), tx.volumes()))
    around = await look.surroundings(call.engine)
    written = await look.sizes(call.engine, seen)
    now = call.engine.parts.clock()
    used: dict[str, int] = {}
    for s in seen:
        for name in {m.source for m in s.container.config.mounts if m.type == "volume"}:
            used[name] = used.get(name, 0) + 1
    held = await sizes([call.engine.parts.places.volume(v.name) for v in volumes])
    users = [s.container.config.image_id for s in seen]
    view = {
        "LayersSize": sum(i.size for i in images),
        "Images": [view_image.summary(i, users.count(i.id)) for i in images],
        "Containers": [
            {**view_container.summary(s.container, s.endpoints, around, now), "SizeRw": rw, "SizeRootFs": root}
            for s, (rw, root) in zip(seen, written, strict=True)
        ],
        "Volumes": [
            {**volume_view(call, v), "UsageData": {"Size": size, "RefCount": used.get(v.name, 0)}}
            for v, size in zip(volumes, held, strict=True)
        ],
        "BuildCache": [],
        "BuilderSize": 0,
    }
    return call.json(view)


async def prune_containers(call: Call) -> web.StreamResponse:
    """POST /containers/prune: those that do not run."""
    wanted = call.filters(FILTERS)
    before = _until(call, wanted)
    seen = [
        s
        for s in await look.every(call.engine)
        if s.container.state in _ENDED and s.container.created_at < before and kept(wanted, s.container.config.labels)
    ]
    gone: list[str] = []
    freed = 0
    for s, (written, _) in zip(seen, await look.sizes(call.engine, seen), strict=True):
        if await _removed(call, s):
            gone.append(s.container.id)
            freed += written
    return call.json({"ContainersDeleted": gone or None, "SpaceReclaimed": freed})


async def _removed(call: Call, seen: Seen) -> bool:
    try:
        await call.engine.remove(seen.container.id)
    except (Conflict, NotFound):  # started, or removed, since we looked
        return False
    return True


async def prune_networks(call: Call) -> web.StreamResponse:
    """POST /networks/prune: those that no container is on, nor wants to be on when it starts."""
    wanted = call.filters(FILTERS)
    before = _until(call, wanted)
    used: set[str] = {r.network for s in await look.every(call.engine) for r in s.container.config.endpoints}
    gone: list[str] = []
    teardown = Teardown("prune networks")
    for network in await call.engine.networks.all():
        if network.name in used or network.name in BUILTIN or network.name == DEFAULT:
            continue
        if network.created_at < before and kept(wanted, network.labels):
            try:
                await call.engine.networks.remove(network.name)
                gone.append(network.name)
            except UserError:  # in use, or removed, since we looked
                continue
            except HawseError as e:
                teardown.failed(e)
    teardown.end()
    return call.json({"NetworksDeleted": gone or None})


async def prune_builds(call: Call) -> web.StreamResponse:
    """POST /build/prune, which `docker system prune` asks for as well: there is no build cache."""
    return call.json({"CachesDeleted": None, "SpaceReclaimed": 0})


def _until(call: Call, wanted: Filters) -> int:
    """Created before that; without the filter, ever."""
    now = call.engine.parts.clock()
    return min((parse_timestamp("until", text, now) for text in wanted.get("until")), default=now + 1)
