"""Endpoints of volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.model import Volume
from hawse.supervisor.docker.body import Body, invalid
from hawse.supervisor.docker.filters import Filters

FILTERS = frozenset("dangling driver label name".split())
PRUNE_FILTERS = frozenset("all label label!".split())


async def listing(call: Call) -> web.StreamResponse:
    """GET /volumes: named and anonymous ones."""
    wanted = call.filters(FILTERS)
    dangling = wanted.flag("dangling")
    unused = {v.name for v in await call.engine.volumes.unused(lambda _: True)}
    volumes = await call.engine.store.read(lambda tx: tx.volumes())
    chosen = [
        v
        for v in volumes
        if wanted.pattern("name", v.name)
        and wanted.labels(v.labels)
        and wanted.exact("driver", "local")
        and (dangling is None or dangling == (v.name in unused))
    ]
    return call.json({"Volumes": [view(call, v) for v in chosen], "Warnings": None})


async def create(call: Call) -> web.StreamResponse:
    """POST /volumes/create: one of that name that exists already is the answer."""
    asked = decode(await call.body())
    volume = await call.engine.volumes.create(asked.name, asked.labels)
    return call.json(view(call, volume), 201)


@dataclass(frozen=True, slots=True)
class Asked:
    """A volume as it was asked for."""

    name: str
    labels: dict[str, str]


def decode(body: Body) -> Asked:
    """Read the body of POST /volumes/create.  Raises UserError."""
    if body.text("Driver") not in ("", "local"):
        raise invalid("Driver", body.text("Driver"), "local: hawse has no volume plugins")
    if options := body.strings_map("DriverOpts"):
        raise invalid("DriverOpts", options, "absent: a volume is a directory; mount others with --mount type=bind")
    if body.asks("ClusterVolumeSpec"):
        raise invalid("ClusterVolumeSpec", {}, "absent: hawse has no swarm mode")
    return Asked(body.text("Name"), body.strings_map("Labels"))


async def inspect(call: Call) -> web.StreamResponse:
    """GET /volumes/X: with the directory that it is."""
    return call.json(view(call, await call.engine.store.read(lambda tx: tx.find_volume(call.ref))))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /volumes/X: refused while a container, even a stopped one, mounts it."""
    await call.engine.volumes.remove(call.ref, force=call.query.flag("force"))
    return call.nothing()


async def prune(call: Call) -> web.StreamResponse:
    """POST /volumes/prune: anonymous ones that nobody uses, named ones too with all=true."""
    wanted = call.filters(PRUNE_FILTERS)
    everything = wanted.flag("all") or call.version < (1, 42)
    volumes = await call.engine.volumes.unused(lambda v: (everything or v.anonymous) and kept(wanted, v.labels))
    names = [v.name for v in volumes]
    freed = await call.engine.volumes.discard(names)
    return call.json({"VolumesDeleted": names, "SpaceReclaimed": freed})


def kept(wanted: Filters, labels: dict[str, str]) -> bool:
    """Tell whether label and label! choose an object for pruning."""
    return wanted.labels(labels) and not wanted.any_label(labels, "label!")


def view(call: Call, volume: Volume) -> dict[str, Any]:
    """Show one volume in Docker's JSON."""
    return {
        "CreatedAt": rfc3339(volume.created_at),
        "Driver": "local",
        "Labels": volume.labels or None,
        "Mountpoint": str(call.engine.parts.places.volume(volume.name)),
        "Name": volume.name,
        "Options": None,
        "Scope": "local",
    }
