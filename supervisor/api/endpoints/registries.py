"""The endpoints that talk to registries of images."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.core.errors import HawseError, NotFound, UserError
from hawse.supervisor.core.steps import Step
from hawse.supervisor.docker import view_progress
from hawse.supervisor.images import pulls
from hawse.supervisor.images.pulls import Wanted
from hawse.supervisor.images.registry import credentials, platforms
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.endpoints import Access, domain_of
from hawse.supervisor.images.registry.media import Index
from hawse.supervisor.images.registry.reference import Reference, is_digest, parse

log = structlog.get_logger()

Line = dict[str, Any]
Tell = Callable[[Line], None]
BETWEEN = 0.1
"""Seconds between two lines about the bytes of one layer."""
AUTH = "X-Registry-Auth"


async def pull(call: Call, name: str, tag: str) -> web.StreamResponse:
    """Answer POST /images/create?fromImage=NAME&tag=: docker's lines, one for each step.

    What can be known before the first layer is: until then an error is the answer's status, on which clients branch.
    """
    own = platforms.of_machine(platform.machine())
    asked = call.query.text("platform")
    wanted_platform = platforms.parse(asked, own) if asked else own
    reference, every_tag = _reference(name, tag)
    known = credentials.parse(call.request.headers.get(AUTH, ""))
    async with Client(reference.domain, _access(call), known) as registry:
        tags = await registry.tags(reference) if every_tag else [reference.tag]
        names = [Reference(reference.name, tag, reference.digest) for tag in tags]
        if not names:
            raise UserError(f"{reference.name} has no tags", hint="name one by its digest")
        first = await pulls.want(registry, names[0], wanted_platform)

        async def work(tell: Tell) -> None:
            for name in names:
                wanted = first if name is names[0] else await pulls.want(registry, name, wanted_platform)
                await _one(call, wanted, tell)

        return await told(call, work)


async def login(call: Call) -> web.StreamResponse:
    """Answer POST /auth: see that a registry knows this name and password."""
    body = await call.body()
    known = credentials.Credentials(
        username=body.text("username"), password=body.text("password"), identity_token=body.text("identitytoken")
    )
    async with Client(domain_of(body.text("serveraddress")), _access(call), known) as registry:
        token = await registry.login()
    return call.json({"IdentityToken": token, "Status": "Login Succeeded"})


async def distribution(call: Call) -> web.StreamResponse:
    """Answer GET /distribution/X/json: what a registry has under a name, and for which platforms."""
    reference = parse(call.params["name"])
    known = credentials.parse(call.request.headers.get(AUTH, ""))
    async with Client(reference.domain, _access(call), known) as registry:
        found = await registry.manifest(reference)
    described = found.descriptor
    offers = found.parsed.manifests if isinstance(found.parsed, Index) else ()
    return call.json(
        {
            "Descriptor": {"mediaType": described.media_type, "digest": described.digest, "size": described.size},
            "Platforms": [
                {"architecture": one.platform.architecture, "os": one.platform.os, "variant": one.platform.variant}
                for one in offers
                if one.platform
            ]
            or None,
        }
    )


def _access(call: Call) -> Access:
    config = call.engine.parts.config
    return Access(mirrors=config.registry_mirrors, insecure=config.insecure_registries)


async def _one(call: Call, wanted: Wanted, tell: Tell) -> None:
    reference = wanted.reference
    tell(view_progress.line(Step(status=f"Pulling from {reference.path}", id=reference.target)))
    steps = Steps(tell)
    _, is_new = await call.engine.images.pulls.pull(wanted, steps.report)
    tell({"status": f"Digest: {wanted.found.descriptor.digest}"})
    outcome = "Downloaded newer image for" if is_new else "Image is up to date for"
    tell({"status": f"Status: {outcome} {reference}"})


async def push(call: Call) -> web.StreamResponse:
    """Answer POST /images/X/push?tag=: docker's lines, one for each step; X without a tag is all its tags."""
    asked, tag = parse(call.params["name"]), call.query.text("tag")
    names = [Reference(asked.name, tag)] if tag else await _names(call, asked)
    known = credentials.parse(call.request.headers.get(AUTH, ""))

    async def work(tell: Tell) -> None:
        tell({"status": f"The push refers to repository [{asked.domain}/{asked.path}]"})
        async with Client(asked.domain, _access(call), known) as registry:
            for name in names:
                try:
                    image = await call.engine.images.resolve(str(name))
                except NotFound:
                    raise NotFound(f"An image does not exist locally with the tag: {asked.name}") from None
                done = await call.engine.images.pushes.push(registry, image, name, Steps(tell).report)
                tell({"status": f"{name.tag}: digest: {done.digest} size: {done.size}"})
                tell({"progressDetail": {}, "aux": {"Tag": name.tag, "Digest": done.digest, "Size": done.size}})

    return await told(call, work)


async def _names(call: Call, asked: Reference) -> list[Reference]:
    """Return all names here of a repository."""
    tags = await call.engine.store.read(lambda tx: tx.image_tags())
    return [found for found in map(parse, tags) if found.name == asked.name] or [asked]


async def told(call: Call, work: Callable[[Tell], Awaitable[None]]) -> web.StreamResponse:
    """Answer with the lines that `work` tells.  What goes wrong in it is the last line: the head was sent."""
    async with call.stream(wire.JSON) as out:
        send, receive = anyio.create_memory_object_stream[Line](math.inf)

        async def run() -> None:
            with send:
                try:
                    await work(send.send_nowait)
                except* HawseError as group:
                    send.send_nowait(view_progress.error(str(_first(group))))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            async for line in receive:
                await out.line(line)
    return out.response


class Steps:
    """Passes steps on, of the growth of one layer only so many as eyes can follow."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last: dict[str, float] = {}

    def report(self, step: Step) -> None:
        if 0 < step.current < step.total:
            now = time.monotonic()
            if now - self._last.get(step.id, -math.inf) < BETWEEN:
                return
            self._last[step.id] = now
        self._tell(view_progress.line(step))


def _reference(name: str, tag: str) -> tuple[Reference, bool]:
    """Return what is meant, and whether it is all tags: a name without any.  Raises UserError."""
    if not name:
        raise UserError(
            "invalid reference format: repository name must have at least one component", hint="fromImage=NAME"
        )
    if is_digest(tag):
        return parse(f"{name}@{tag}"), False
    if tag:
        return parse(f"{name}:{tag}"), False
    read = parse(name)
    return read, not read.digest and ":" not in name.rpartition("/")[2]


def _first(group: BaseExceptionGroup[HawseError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
