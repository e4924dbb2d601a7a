"""Containers that the last daemon left alive: taken over, collected or unwound.

A container whose shim answers is adopted; one whose shim is gone is collected from its exit record, and whatever lives of it
is ended; one that was being started is unwound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace

from hawse.supervisor.core.errors import HawseError, StartError, Unavailable
from hawse.supervisor.core.model import Container, State, Verb
from hawse.supervisor.lifecycle import network_files, starting
from hawse.supervisor.linux import process, threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.reports import ForeignShim
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()


async def attempt(failed: str, what: str, act: Awaitable[None]) -> None:
    """Do one; if it fails, that is logged as `failed`, and does not stop the others.

    Raises ForeignShim: to go on would be to take its container for dead.
    """
    try:
        await act
    except ForeignShim:
        raise
    except (HawseError, OSError) as e:
        log.error(failed, what=what, error=str(e))


async def adopt(parts: Parts, container: Container, watch: Callable[[Shim], None], counts: Counter[str]) -> None:
    """Take over a container that is recorded as alive; `counts` says what became of it.  Raises ForeignShim."""
    with structlog.contextvars.bound_contextvars(container=container.id[:12]):
        await attempt("container_not_recovered", container.name, _adopt(parts, container, watch, counts))


async def _adopt(parts: Parts, container: Container, watch: Callable[[Shim], None], counts: Counter[str]) -> None:
    shim = await _reconnect(parts, container)
    if container.state is State.STARTING:
        await starting.unwind(parts, container, shim, StartError("the daemon was stopped", stage="engine"))
        log.info("start_unwound")
    elif shim is None:
        async with parts.live.locks.hold(container.id):
            await repairs.collect(parts, container.id)
        counts["collected"] += 1
        log.info("container_collected")
    else:
        parts.live.shims[container.id] = shim
        if container.is_asked_to(Verb.SHUTDOWN):
            await parts.store.transact(lambda tx: _outlived(tx, container.id))
        await _settle(parts, container)
        await attempt("ports_not_held", container.name, repairs.hold_ports(parts, container.id))
        watch(shim)
        await network_files.follow(parts, container)  # a connect or disconnect may have been under way
        counts["adopted"] += 1
        log.info("container_adopted", pid=shim.pid)


def _outlived(tx: Tx, container_id: str) -> None:
    """The shutdown that it was to end with was cut off: when it ends later, that is its own."""
    if (container := tx.container(container_id)) and container.is_asked_to(Verb.SHUTDOWN):
        tx.put(replace(container, wish=None))


async def _reconnect(parts: Parts, container: Container) -> Shim | None:
    if container.process is not None and container.process.boot_id != process.boot_id():
        return None  # whatever the run directory says: it is another boot's
    try:
        paths = parts.places.of(container.id)
        return await Shim.reconnect(paths.socket, container.id, paths.state)
    except ForeignShim:
        raise
    except Unavailable:
        return None


async def _settle(parts: Parts, container: Container) -> None:
    """A commit, a pause, an unpause or an update may have been under way: what is recorded counts."""
    cgroup = Cgroup.open(parts.cgroups, container.id)
    try:
        cgroup.update(container.config.resources)
    except HawseError as e:  # the old limit is below what it uses by now
        log.warning("limits_not_restored", error=str(e))
    if container.state is State.PAUSED:
        await threads.run_sync(cgroup.freeze)
    else:
        cgroup.thaw()
