"""Endpoints of volumes."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.events import rfc3339
from hawse.supervisor.model import Volume

FILTERS = frozenset("dangling driver label name".split())


async def listing(call: Call) -> web.StreamResponse:
    """GET /volumes."""
    wanted = call.filters(FILTERS)
    dangling = wanted.flag("dangling")
    volumes = await call.engine.store.read(lambda tx: tx.volumes())
    used = await _users(call)
    chosen = [
        v
        for v in volumes
        if wanted.pattern("name", v.name)
        and wanted.labels(v.labels)
        and wanted.exact("driver", "local")
        and (dangling is None or dangling == (v.name not in used))
    ]
    return call.json({"Volumes": [_view(call, v) for v in chosen], "Warnings": None})


async def inspect(call: Call) -> web.StreamResponse:
    """GET /volumes/X."""
    ref = call.params["name"]
    return call.json(_view(call, await call.engine.store.read(lambda tx: tx.find_volume(ref))))


async def _users(call: Call) -> set[str]:
    containers = await call.engine.store.read(lambda tx: tx.containers())
    return {m.source for c in containers for m in c.config.mounts if m.type == "volume"}


def _view(call: Call, volume: Volume) -> dict[str, Any]:
    return {
        "CreatedAt": rfc3339(volume.created_at),
        "Driver": "local",
        "Labels": volume.labels or None,
        "Mountpoint": str(call.engine.parts.volume_dir(volume.name)),
        "Name": volume.name,
        "Options": None,
        "Scope": "local",
    }
