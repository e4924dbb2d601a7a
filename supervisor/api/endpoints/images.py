"""Endpoints of images."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from hawse.supervisor.api import upload, wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import registries
from hawse.supervisor.api.endpoints.volumes import kept
from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.model import Image
from hawse.supervisor.docker import view_image
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.platform import ARCHITECTURES, fits
from hawse.supervisor.docker.query import parse_timestamp
from hawse.supervisor.images.naming import Removal
from hawse.supervisor.images.registry.reference import joined

FILTERS = frozenset("before dangling label reference since until".split())
PRUNE_FILTERS = frozenset("dangling label label! until".split())


async def listing(call: Call) -> web.StreamResponse:
    """GET /images/json: newest first."""
    wanted = call.filters(FILTERS)
    images, containers = await call.engine.store.read(lambda tx: (tx.images(), tx.containers()))
    after = [(await call.engine.images.resolve(ref)).created_at for ref in wanted.get("since")]
    before = [(await call.engine.images.resolve(ref)).created_at for ref in wanted.get("before")]
    users = [c.config.image_id for c in containers]
    chosen = [
        image
        for image in sorted(images, key=lambda i: i.created_at, reverse=True)
        if max(after, default=-1) < image.created_at < min(before, default=1 << 63)
        and image.created_at < _until(call, wanted)
        and _matches(image, wanted)
    ]
    patterns = wanted.get("reference")
    named = [replace(image, tags=_called(image, patterns)) if patterns else image for image in chosen]
    return call.json([view_image.summary(image, users.count(image.id)) for image in named])


def _matches(image: Image, wanted: Filters) -> bool:
    dangling = wanted.flag("dangling")
    patterns = wanted.get("reference")
    return (
        (dangling is None or dangling == (not image.tags))
        and wanted.labels(image.config.labels)
        and (not patterns or bool(_called(image, patterns)))
    )


def _called(image: Image, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return those of its names that are asked for: the answer may go to `rmi`, which is to leave its others alone."""
    return tuple(tag for tag in image.tags if any(_fits(tag, pattern) for pattern in patterns))


def _fits(tag: str, pattern: str) -> bool:
    """With the tag or without it; as in Go's path.Match, a star ends at a slash."""
    parts = pattern.replace("[^", "[!").split("/")
    for name in (tag, tag.rpartition(":")[0]):
        pieces = name.split("/")
        if len(pieces) == len(parts) and all(map(fnmatchcase, pieces, parts)):
            return True
    return False


def _until(call: Call, wanted: Filters) -> int:
    now = call.engine.parts.clock()
    return min((parse_timestamp("until", text, now) for text in wanted.get("until")), default=now + 1)


async def create(call: Call) -> web.StreamResponse:
    """POST /images/create: fromImage=NAME is pulled; with fromSrc=- an archive of a root file system becomes an image."""
    source = call.query.text("fromSrc")
    if not source:
        return await registries.pull(call, call.query.text("fromImage"), call.query.text("tag"))
    if source != "-":
        raise UserError(f"invalid fromSrc: {source!r}", hint='"-", with the archive in the body')
    machine = platform.machine()
    if not fits(asked := call.query.text("platform"), ARCHITECTURES.get(machine, machine)):
        raise UserError(f"invalid platform: {asked[:80]!r}", hint=f"an archive is of this machine's, linux/{machine}")
    image = await call.engine.images.import_(
        upload.file(call.request.content),
        tag=joined(call.query.text("repo"), call.query.text("tag")),
        changes=_changes(call),
        message=call.query.text("message"),
    )
    async with call.stream(wire.JSON) as out:
        await out.line({"status": image.id})
    return out.response


async def commit(call: Call) -> web.StreamResponse:
    """POST /commit?container=X: what a container changed becomes an image."""
    ref = call.query.text("container")
    if not ref:
        raise UserError("invalid value for container: absent", hint="its name or id")
    image = await call.engine.commit(
        ref,
        tag=joined(call.query.text("repo"), call.query.text("tag")),
        changes=_changes(call),
        message=call.query.text("comment"),
        author=call.query.text("author"),
        pause=call.query.flag("pause", default=True),
    )
    return call.json({"Id": image.id}, 201)


def _changes(call: Call) -> tuple[str, ...]:
    """Given once for each instruction, or in one text with a line for each."""
    lines = (line for text in call.query.texts("changes") for line in text.splitlines())
    return tuple(line for line in lines if line.strip())


async def inspect(call: Call) -> web.StreamResponse:
    """GET /images/X/json: all of one."""
    return call.json(view_image.inspect(await call.engine.images.resolve(call.params["name"])))


async def history(call: Call) -> web.StreamResponse:
    """GET /images/X/history: a line for each layer, newest first."""
    return call.json(view_image.history(await call.engine.images.resolve(call.params["name"])))


async def tag(call: Call) -> web.StreamResponse:
    """POST /images/X/tag?repo=&tag=: one more name."""
    name = joined(call.query.text("repo"), call.query.text("tag"))
    if not name:
        raise UserError("invalid reference format: repository name must have at least one component", hint="repo=NAME")
    await call.engine.images.tag(call.params["name"], name)
    return call.nothing(201)


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /images/X: a name; with the last one, or by its id, the image."""
    removal = await call.engine.images.remove(call.params["name"], force=call.query.flag("force"))
    return call.json(_removed(removal))


async def prune(call: Call) -> web.StreamResponse:
    """POST /images/prune: those without a name that nobody uses; with dangling=false all that nobody uses."""
    wanted = call.filters(PRUNE_FILTERS)
    everything = wanted.flag("dangling") is False
    images, containers = await call.engine.store.read(lambda tx: (tx.images(), tx.containers()))
    used = {c.config.image_id for c in containers}
    gone: list[dict[str, str]] = []
    freed = 0
    for image in images:
        if image.id in used or (image.tags and not everything):
            continue
        if image.created_at < _until(call, wanted) and kept(wanted, image.config.labels):
            try:
                gone += _removed(await call.engine.images.remove(image.id, force=True))
            except (Conflict, NotFound):  # used, or removed, since we looked
                continue
            freed += image.size
    return call.json({"ImagesDeleted": gone or None, "SpaceReclaimed": freed})


def _removed(removal: Removal) -> list[dict[str, Any]]:
    lines = [{"Untagged": name} for name in removal.untagged]
    return [*lines, {"Deleted": removal.image.id}] if removal.image else lines
