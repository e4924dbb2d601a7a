"""A container out of memory: told when the kernel tells, whoever of its processes was the victim, and once.

The record has the kernel's count of kills as it was last told, so a daemon tells what happened while there was none, and the
exit tells only what nobody has told yet.
"""

from __future__ import annotations

import anyio
import structlog

from hawse.supervisor.core import cause, machine
from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.oom import OomNews
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

PAUSE = 1.0
"""Seconds after a word in which further kills are gathered: a program that is always out of memory floods nobody."""
FIRST_LOOK, LOOKS = 0.001, 10
"""v1 speaks before it kills: the count is looked at again after 1, 2, 4 … ms, a second in all."""


async def follow(parts: Parts, news: OomNews, container_id: ContainerId) -> None:
    """Follow them until cancelled, which the container's end does."""
    cause.unrelated()
    cgroup = Cgroup.open(parts.cgroups, container_id)
    try:
        with news.watch(cgroup) as said:
            await _tell(parts, container_id, cgroup.oom_kills())  # what was before anybody listened
            while True:
                await said.wait()
                said.clear()
                if await _look(parts, container_id, cgroup):
                    await anyio.sleep(PAUSE)
    except OSError as e:
        log.warning("oom_not_watched", container=container_id[:12], error=str(e), hint="it is told at the exit")


async def _look(parts: Parts, container_id: ContainerId, cgroup: Cgroup) -> bool:
    """Tell whether something was told."""
    pause = FIRST_LOOK
    for _ in range(LOOKS):
        if await _tell(parts, container_id, cgroup.oom_kills(), stuck=cgroup.is_stuck()):
            return True
        await anyio.sleep(pause)
        pause *= 2
    return False


async def _tell(parts: Parts, container_id: ContainerId, kills: int, *, stuck: bool = False) -> bool:
    """`stuck`: nobody was killed, all wait for memory (`--oom-kill-disable`, v1)."""
    if not (kills or stuck):
        return False

    def tell(tx: Tx) -> bool:
        container = tx.container(container_id)
        if container is None or not container.state.is_running:
            return False
        if kills <= container.oom_kills and not stuck:
            return False
        stimulus = machine.OutOfMemory(kills=kills, endpoints=tuple(tx.endpoints(container_id)))
        move(tx, container, stimulus, parts.clock())
        return True

    async with parts.live.locks.hold(container_id):  # others put back the record that they read under it
        try:
            return await parts.store.transact(tell)
        except HawseError as e:  # a full disk: told with the next one, or at the exit
            log.error("oom_not_recorded", container=container_id[:12], error=str(e))
            return False
