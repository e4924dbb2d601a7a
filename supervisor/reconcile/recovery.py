"""What a fresh daemon does before it answers anybody: find what the last one left, and bring records and world together.

`STEPS` is all of it, in order; read it from the top.  Each step is safe to run again: a daemon may die in any of them, and
the next one begins at the first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.abc
import structlog

from hawse.supervisor.core.events import DaemonRecovered
from hawse.supervisor.core.model import Container
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.hooks.hooks import Hooks
from hawse.supervisor.lifecycle import cabling
from hawse.supervisor.lifecycle.execs import Execs
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.adopting import adopt, attempt
from hawse.supervisor.reconcile.plan import Kind
from hawse.supervisor.runtime.client import Shim

log = structlog.get_logger()

LATER: Final = frozenset({Kind.FINISH_REMOVAL, Kind.UNPLUG, Kind.HOLD_PORTS})
"""What the durable handlers do when the dispatcher runs: removals wait for them, endpoints are theirs.  And ports that could
not be held when their containers were adopted: the keeper tries them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What the steps work with, and what they leave for later ones."""

    parts: Parts
    volumes: Volumes
    execs: Execs
    hooks: Hooks
    dispatcher: Dispatcher
    tasks: anyio.abc.TaskGroup  # of what goes on when recovery is over
    watch: Callable[[Shim], None]  # follows a running container to its end
    carry_through: Callable[[Container], Coroutine[Any, Any, None]]  # what a user had asked of it
    begun: int = field(default_factory=time.perf_counter_ns)
    counts: Counter[str] = field(default_factory=Counter)
    unfinished: list[Container] = field(default_factory=list)


async def recover(recovery: Recovery) -> None:
    """Recover everything; one bad container or network is logged and does not stop the others.

    Raises Unavailable when containers run whose shims speak a protocol that this daemon does not know; they go on.
    """
    for step in STEPS:
        await step(recovery)


async def _find_unfinished(recovery: Recovery) -> None:
    containers = await recovery.parts.store.read(lambda tx: tx.containers())
    recovery.unfinished.extend(container for container in containers if container.is_unfinished)


async def _finish_volumes(recovery: Recovery) -> None:
    recovery.volumes.make()


async def _ensure_networks(recovery: Recovery) -> None:
    parts = recovery.parts
    for network in await parts.store.read(lambda tx: tx.networks()):
        await attempt("network_not_recovered", network.name, parts.network.ensure(network))


async def _adopt_containers(recovery: Recovery) -> None:
    parts = recovery.parts
    async with anyio.create_task_group() as group:
        for container in await parts.store.read(lambda tx: tx.containers()):
            if container.state.is_alive:
                group.start_soon(adopt, parts, container, recovery.watch, recovery.counts)


async def _restore_ports(recovery: Recovery) -> None:
    running = await recovery.parts.store.read(repairs.published)
    recovery.counts["repaired"] += len(await recovery.parts.network.restore(running))


async def _sweep(recovery: Recovery) -> None:
    for action in await repairs.audit(recovery.parts):
        if action.kind not in LATER:
            log.info("swept", object=action.object, problem=action.problem)
            recovery.counts["repaired"] += 1
            await attempt("sweep_failed", action.object, repairs.apply(recovery.parts, action, _later))


async def _later(container_id: str) -> None:
    """Removals are finished when the dispatcher runs."""


async def _tell(recovery: Recovery) -> None:
    fact = DaemonRecovered(
        adopted=recovery.counts["adopted"],
        collected=recovery.counts["collected"],
        repaired=recovery.counts["repaired"],
        took_us=(time.perf_counter_ns() - recovery.begun) // 1000,
    )
    await recovery.parts.store.transact(lambda tx: tx.append(fact))


async def _adopt_execs(recovery: Recovery) -> None:
    await recovery.execs.adopt()


async def _begin_hooks(recovery: Recovery) -> None:
    await recovery.hooks.begin()


async def _finish_connects(recovery: Recovery) -> None:
    await cabling.finish_all(recovery.parts, recovery.dispatcher)


async def _carry_through(recovery: Recovery) -> None:
    for container in recovery.unfinished:
        recovery.tasks.start_soon(recovery.carry_through, container)


STEPS: Final[tuple[Callable[[Recovery], Awaitable[None]], ...]] = (
    _find_unfinished,  # first: to unwind a half-made start is to forget the restart that it was part of
    _finish_volumes,  # before a start, which may mount them
    _ensure_networks,  # before containers: their cables and ports hang on the bridges and the table
    _adopt_containers,  # before the sweep: what nobody has adopted counts as left behind
    _restore_ports,  # of those that were found to run: one that was collected publishes nothing any more
    _sweep,  # by the plan that `hawse audit` prints, now that all that belongs to somebody is known
    _tell,  # when records are true again: policies decide by them when they hear of it
    _adopt_execs,  # through the shims of the adopted
    _begin_hooks,  # before the first gate, which asks them
    _finish_connects,  # that is such a gate
    _carry_through,  # last, and before the dispatcher tells of exits: after that `--rm` would remove what is to restart
)
