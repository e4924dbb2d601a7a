"""Endpoints of a container's life: list, create, inspect, start, stop, ... remove."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import look
from hawse.supervisor.api.endpoints.look import Seen
from hawse.supervisor.core.errors import NotFound, UserError
from hawse.supervisor.core.model import ContainerConfig, Resources, State
from hawse.supervisor.core.signal_names import signal_number
from hawse.supervisor.docker import decode_host, view_container
from hawse.supervisor.docker.decode import container_config
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.platform import fits
from hawse.supervisor.docker.text import exit_code
from hawse.supervisor.images.configure import configure
from hawse.supervisor.linux import cgroup_io, cgroup_limits

FILTERS = frozenset(
    "ancestor before exited expose health id is-task isolation label name network publish since status volume".split()
)
STATES = frozenset("created restarting running removing paused exited dead".split())


async def listing(call: Call) -> web.StreamResponse:
    """GET /containers/json: newest first; without all only what runs, unless a filter or limit asks for others."""
    wanted = call.filters(FILTERS)
    for status in wanted.get("status"):
        if status not in STATES:
            raise UserError(f"invalid filter 'status={status}'", hint=f"one of {', '.join(sorted(STATES))}")
    limit = call.query.integer("limit", 0, least=-1)
    everything = call.query.flag("all") or limit > 0 or bool(wanted.get("status") or wanted.get("exited"))
    seen = await look.every(call.engine)
    bounds = await _bounds(call, wanted)
    ancestors = await _ancestors(call, wanted)
    around = await look.surroundings(call.engine)
    now = call.engine.parts.clock()
    chosen = [
        s
        for s in reversed(seen)
        if (everything or s.container.public.is_running or s.container.public is State.RESTARTING)
        and bounds[0] < s.container.created_at < bounds[1]
        and (ancestors is None or s.container.config.image_id in ancestors)
        and _matches(s, wanted)
    ]
    if limit > 0:
        chosen = chosen[:limit]
    lines = [view_container.summary(s.container, s.endpoints, around, now) for s in chosen]
    if call.query.flag("size"):
        for line, (written, whole) in zip(lines, await look.sizes(call.engine, chosen), strict=True):
            line |= {"SizeRw": written, "SizeRootFs": whole}
    return call.json(lines)


async def _bounds(call: Call, wanted: Filters) -> tuple[int, int]:
    """The filters since=X and before=X: created after, or before, that container."""
    since = [(await call.engine.container(ref)).created_at for ref in wanted.get("since")]
    before = [(await call.engine.container(ref)).created_at for ref in wanted.get("before")]
    return max(since, default=-1), min(before, default=1 << 63)


async def _ancestors(call: Call, wanted: Filters) -> set[str] | None:
    """The filter ancestor=X: the image that X names now, and those made of it; None without the filter.

    What names no image chooses nothing, as with docker.
    """
    names = wanted.get("ancestor")
    if not names:
        return None
    images = await call.engine.store.read(lambda tx: tx.images())
    found: set[str] = set()
    for name in names:
        try:
            found.add((await call.engine.images.resolve(name)).id)
        except UserError:
            continue
    while more := {image.id for image in images if image.parent in found} - found:
        found |= more
    return found


def _matches(seen: Seen, wanted: Filters) -> bool:
    container, config = seen.container, seen.container.config
    networks: list[str] = [r.network for r in config.endpoints] or [config.network_mode]
    published = [f"{b.host_port}/{b.proto}" for e in seen.endpoints for b in e.ports]
    volumes = [text for m in config.mounts for text in (m.source, m.target) if text]
    return (
        wanted.prefix("id", container.id)
        and wanted.pattern("name", container.name, f"/{container.name}")
        and wanted.labels(config.labels)
        and wanted.exact("status", container.public)
        and wanted.exact("health", container.health or "none")
        and wanted.exact("network", *networks)
        and wanted.exact("volume", *volumes)
        and wanted.exact("exited", *([str(exit_code(container))] if container.exit else []))
        and _ports(wanted, "publish", published)
        and _ports(wanted, "expose", list(config.exposed))
        and wanted.exact("is-task", "false")
    )


def _ports(wanted: Filters, key: str, ports: list[str]) -> bool:
    """`80`, `80/udp` and ranges such as `8000-8010/tcp`."""
    if not wanted.get(key):
        return True
    for text in wanted.get(key):
        span, _, proto = text.partition("/")
        first, _, last = span.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise UserError(f"invalid filter '{key}={text}'", hint="PORT[-PORT][/PROTOCOL]")
        for port in ports:
            number, _, kind = port.partition("/")
            if int(first) <= int(number) <= int(last or first) and kind == (proto or "tcp"):
                return True
    return False


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/create: everything is checked before anything is made."""
    decoded = container_config(await call.body())
    resources, discarded = _supported(call, decoded.config.resources)
    image = None if decoded.config.rootfs else await call.engine.images.resolve(decoded.config.image)
    if image is not None and not fits(platform := call.query.text("platform"), image.architecture):
        raise UserError(
            f"image with reference {decoded.config.image} was found but its platform (linux/{image.architecture}) does not "
            f"match the specified platform ({platform[:80]})"
        )
    config = configure(replace(decoded.config, resources=resources), image)
    try:
        container = await call.engine.create(config, call.query.text("name"))
    except NotFound as e:  # a network, say: of a 404 docker's client believes that it is the image, and pulls
        raise UserError(e.message, hint=e.hint) from e
    return call.json({"Id": container.id, "Warnings": [*decoded.warnings, *discarded]}, 201)


def _supported(call: Call, resources: Resources) -> tuple[Resources, list[str]]:
    """Without what this machine's controllers cannot do, and docker's warnings of it."""
    cgroups = call.engine.parts.cgroups
    controller, weights = cgroups.io_support()
    kept, warnings = cgroup_io.without(resources, controller=controller, weights=weights)
    if cgroups.has_v1_memory:
        return kept, warnings
    kept, more = cgroup_limits.without_v1_memory(kept)
    return kept, warnings + more


async def inspect(call: Call) -> web.StreamResponse:
    """GET /containers/X/json: all of one, with `Hawse` for stages, id range and own hooks."""
    seen = await look.one(call.engine, call.ref)
    size = (await look.sizes(call.engine, [seen]))[0] if call.query.flag("size") else None
    around = await look.surroundings(call.engine, seen.container, size)
    return call.json(view_container.inspect(seen.container, seen.endpoints, around))


async def start(call: Call) -> web.StreamResponse:
    """POST /containers/X/start: 304 when it runs."""
    await call.engine.start(call.ref)
    return call.nothing()


async def stop(call: Call) -> web.StreamResponse:
    """POST /containers/X/stop: its stop signal, SIGKILL after t seconds; 304 when it does not run."""
    await call.engine.stop(call.ref, timeout=_timeout(call), signal=_stop_signal(call))
    return call.nothing()


async def restart(call: Call) -> web.StreamResponse:
    """POST /containers/X/restart: stop, then start."""
    await call.engine.restart(call.ref, timeout=_timeout(call), signal=_stop_signal(call))
    return call.nothing()


def _stop_signal(call: Call) -> str | None:
    """Instead of its own.  Raises UserError for one that nobody knows."""
    signal = call.query.text("signal") or None
    if signal:
        signal_number(signal)
    return signal


async def kill(call: Call) -> web.StreamResponse:
    """POST /containers/X/kill: one signal, SIGKILL if none is named."""
    await call.engine.kill(call.ref, signal_number(call.query.text("signal") or "KILL"))
    return call.nothing()


async def pause(call: Call) -> web.StreamResponse:
    """POST /containers/X/pause: its cgroup is frozen."""
    await call.engine.pause(call.ref)
    return call.nothing()


async def unpause(call: Call) -> web.StreamResponse:
    """POST /containers/X/unpause: its cgroup is thawed."""
    await call.engine.unpause(call.ref)
    return call.nothing()


async def rename(call: Call) -> web.StreamResponse:
    """POST /containers/X/rename?name=Y: also of a running one."""
    name = call.query.text("name")
    if not name:
        raise UserError("Neither old nor new names may be empty")
    await call.engine.rename(call.ref, name)
    return call.nothing()


async def update(call: Call) -> web.StreamResponse:
    """POST /containers/X/update: limits and restart policy."""
    body = await call.body()
    warnings = decode_host.not_updated(body)

    def change(config: ContainerConfig) -> ContainerConfig:
        updated = decode_host.update(config, body)
        resources, discarded = _supported(call, updated.resources)
        warnings.extend(discarded)
        return replace(updated, resources=resources)

    await call.engine.update(call.ref, change)
    return call.json({"Warnings": warnings})


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /containers/X: force ends it first, v takes its anonymous volumes along."""
    if call.query.flag("link"):
        raise UserError("a link cannot be removed by itself", hint="make the container anew without it")
    await call.engine.remove(call.ref, force=call.query.flag("force"), volumes=call.query.flag("v"))
    return call.nothing()


def _timeout(call: Call) -> int | None:
    return call.query.integer("t", 0, least=-1, most=86_400 * 365) if "t" in call.query else None
