"""What a fresh daemon does before it answers anybody: find what the last one left, and bring records and world together.

A container whose shim answers is adopted; one whose shim is gone is collected from its exit record, and whatever lives of it
is ended; one that was being started is unwound; one that was being removed is removed.  Ports of what runs are checked to be
in the table.  What then belongs to nobody is swept by the same plan that `hawse audit` prints.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import structlog
from msgspec.structs import replace

from hawse.supervisor.core.errors import HawseError, StartError, Unavailable
from hawse.supervisor.core.events import DaemonRecovered
from hawse.supervisor.core.model import Container, State
from hawse.supervisor.lifecycle import network_files, starting
from hawse.supervisor.linux import process, threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.plan import Kind
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.reports import ForeignShim
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

LATER = frozenset({Kind.FINISH_REMOVAL, Kind.UNPLUG, Kind.HOLD_PORTS})
"""What the durable handlers do when the dispatcher runs: removals wait for them, endpoints are theirs.  And ports that could
not be held when their containers were adopted: the keeper tries them again."""


async def recover(parts: Parts, watch: Callable[[Shim], None]) -> None:
    """One bad container or network is logged and does not stop the others.

    Raises Unavailable, and touches nothing, when containers run whose shims speak a protocol that this daemon does not know.
    """
    begun = time.perf_counter_ns()
    counts: Counter[str] = Counter()
    async with anyio.create_task_group() as group:
        for network in await parts.store.read(lambda tx: tx.networks()):
            await _try("network_not_recovered", network.name, parts.network.ensure(network))
        for container in await parts.store.read(lambda tx: tx.containers()):
            if container.state.is_alive:
                group.start_soon(_recover_one, parts, container, watch, counts)
    running = await parts.store.read(repairs.published)
    counts["repaired"] += len(await parts.network.restore(running))
    for action in await repairs.audit(parts):
        if action.kind not in LATER:
            log.info("swept", object=action.object, problem=action.problem)
            counts["repaired"] += 1
            await _try("sweep_failed", action.object, repairs.apply(parts, action, _later))
    fact = DaemonRecovered(
        adopted=counts["adopted"],
        collected=counts["collected"],
        repaired=counts["repaired"],
        took_us=(time.perf_counter_ns() - begun) // 1000,
    )
    await parts.store.transact(lambda tx: tx.append(fact))


async def _later(container_id: str) -> None:
    """Removals are finished when the dispatcher runs."""


async def _try(failed: str, what: str, act: Awaitable[None]) -> None:
    try:
        await act
    except ForeignShim:
        raise  # to go on would be to take its container for dead
    except (HawseError, OSError) as e:
        log.error(failed, what=what, error=str(e))


async def _recover_one(parts: Parts, container: Container, watch: Callable[[Shim], None], counts: Counter[str]) -> None:
    with structlog.contextvars.bound_contextvars(container=container.id[:12]):
        await _try("container_not_recovered", container.name, _adopt(parts, container, watch, counts))


async def _adopt(parts: Parts, container: Container, watch: Callable[[Shim], None], counts: Counter[str]) -> None:
    shim = await _reconnect(parts, container)
    if container.state is State.STARTING:
        await starting.unwind(parts, container, shim, StartError("the daemon was stopped", stage="engine"))
        log.info("start_unwound")
    elif shim is None:
        async with parts.locks.hold(container.id):
            await repairs.collect(parts, container.id)
        counts["collected"] += 1
        log.info("container_collected")
    else:
        parts.shims[container.id] = shim
        if container.ended_by == "shutdown":
            await parts.store.transact(lambda tx: _outlived(tx, container.id))
        await _settle(parts, container)
        await _try("ports_not_held", container.name, repairs.hold_ports(parts, container.id))
        watch(shim)
        await network_files.follow(parts, container)  # a connect or disconnect may have been under way
        counts["adopted"] += 1
        log.info("container_adopted", pid=shim.pid)


def _outlived(tx: Tx, container_id: str) -> None:
    """The shutdown that it was to end with was cut off: when it ends later, that is its own."""
    if (container := tx.container(container_id)) and container.ended_by == "shutdown":
        tx.put(replace(container, ended_by=""))


async def _reconnect(parts: Parts, container: Container) -> Shim | None:
    if container.process is not None and container.process.boot_id != process.boot_id():
        return None  # whatever the run directory says: it is another boot's
    try:
        paths = parts.paths(container.id)
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
