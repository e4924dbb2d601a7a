"""What a fresh daemon does before it answers anybody: find the containers that the last one left.

A container whose shim answers is adopted; one whose shim has ended is collected from its exit record; one that was being
started is unwound.  The network core then brings bridges and elements back to what the records say.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from hawse.supervisor import ending, starting
from hawse.supervisor.errors import HawseError, StartError, Unavailable
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.model import Container, State
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.exitrecord import ExitInfo, read_exit_record

log = structlog.get_logger()


async def recover(parts: Parts, watch: Callable[[Shim], None]) -> None:
    """Bring records and processes together.  One bad container is logged and does not stop the others."""
    for network in await parts.store.read(lambda tx: tx.networks()):
        await parts.network.ensure(network)
    async with anyio.create_task_group() as group:
        for container in await parts.store.read(lambda tx: tx.containers()):
            if container.state.is_alive:
                group.start_soon(_recover_one, parts, container, watch)


async def _recover_one(parts: Parts, container: Container, watch: Callable[[Shim], None]) -> None:
    with structlog.contextvars.bound_contextvars(container=container.id[:12]):
        try:
            shim = await _reconnect(parts, container)
            if container.state is State.STARTING:
                await starting.unwind(parts, container, shim, StartError("the daemon was stopped", stage="engine"))
            elif shim is None:
                ended = read_exit_record(parts.paths(container.id).state) or ExitInfo(
                    code=None, reason="its shim left no exit record"
                )
                async with parts.locks.hold(container.id):
                    await ending.record_exit(parts, container.id, ended)
                log.info("container_collected")
            else:
                parts.shims[container.id] = shim
                if container.state is State.RUNNING:  # a commit may have had it frozen
                    Cgroup.open(parts.cgroups, container.id).thaw()
                watch(shim)
                log.info("container_adopted", pid=shim.pid)
        except (HawseError, OSError) as e:
            log.error("container_not_recovered", error=str(e))


async def _reconnect(parts: Parts, container: Container) -> Shim | None:
    try:
        paths = parts.paths(container.id)
        return await Shim.reconnect(paths.socket, container.id, paths.state)
    except Unavailable:
        return None
