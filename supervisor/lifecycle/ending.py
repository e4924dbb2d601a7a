"""The other end of a container's life: its exit noticed and written down, its traces removed.

Disconnecting is not done here: the durable handler `disconnect` does it when it sees `container.exited`.
"""

from __future__ import annotations

import anyio
import structlog

from hawse.supervisor import faults
from hawse.supervisor.core import cause, events, machine
from hawse.supervisor.core.errors import HawseError, KernelError
from hawse.supervisor.core.model import Container, ContainerId, Exit, State
from hawse.supervisor.lifecycle.creating import forget
from hawse.supervisor.lifecycle.networks import UNPLUG_DEADLINE, wait_unplugged
from hawse.supervisor.lifecycle.transitions import move, step
from hawse.supervisor.lifecycle.volumes import Removal, anonymous_of
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime import logreader
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.exitrecord import ExitInfo
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

LAST_LINES = 10
LAST_LINES_BYTES = 4096
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between two attempts to record an exit


async def watch(parts: Parts, shim: Shim) -> None:
    """Wait for the exit of a running container and write it down, however long it takes (a full disk).

    Ends with the container.
    """
    cause.unrelated()  # a restart's handler may have started this
    info = await shim.wait_exit()
    shim.has_ended = True
    pause = FIRST_PAUSE
    while True:
        async with parts.live.locks.hold(shim.id):  # an exit before `started` is committed waits here for it
            try:
                await record_exit(parts, shim.id, info)
            except HawseError as e:
                log.error("exit_not_recorded", container=shim.id[:12], error=str(e), retry_in=pause)
            else:
                parts.live.shims.pop(shim.id, None)
                # The lock ends with the shim: it holds the old mounts and the socket's path, which a new start wants.
                await shim.release()
                shim.close()
                return
        await anyio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def record_exit(parts: Parts, container_id: ContainerId, info: ExitInfo) -> None:
    """Write one transaction: code, signal, oom, times, what it used, its last lines; then its cgroup goes.

    The caller holds the container's lock.
    """
    cgroup = Cgroup.open(parts.cgroups, container_id)
    used = cgroup.account()
    oom = used.oom_kills > 0 and info.signal == 9
    lines = logreader.last_lines(parts.places.of(container_id).log, LAST_LINES, LAST_LINES_BYTES)

    def ended(tx: Tx) -> None:
        container = tx.container(container_id)
        if container is None or not container.state.is_alive:
            return
        stimulus = machine.Exited(
            exit=Exit(
                code=info.code,
                signal=info.signal,
                oom=oom,
                reason=info.reason,
                finished_at=info.finished_at or parts.clock(),
            ),
            endpoints=tuple(tx.endpoints(container_id)),
            peak_memory=used.memory_peak,
            cpu_ns=used.cpu_ns,
            oom_kills=used.oom_kills,
            last_lines=lines,
        )
        tx.release_ports(container_id)
        parts.live.ports.release(container_id)
        for exec_id, begun in tx.unended_execs(container_id).items():
            if exec_id not in parts.live.followed_execs:  # it ended while nobody was there to be told how
                tx.append(events.ExecEnded(container=container, exec_id=exec_id), cause=begun)
        move(tx, container, stimulus, parts.clock(), cause=_signalled(tx, container, info.signal))

    faults.point("exit.seen")
    await parts.store.transact(ended)
    faults.point("exit.recorded")
    await cgroup.clear()  # what will not die keeps its cgroup, and is swept later
    faults.point("exit.cgroup-gone")


def _signalled(tx: Tx, container: Container, signal: int | None) -> str:
    """The id of the event that tells of the signal of which it ended, "" when it ended by itself."""
    of_this_run = (events.ContainerStarted.TYPE, events.ContainerKilled.TYPE)
    for last in tx.last_events(f"container/{container.id}", *of_this_run, limit=1):
        if isinstance(last.fact, events.ContainerKilled) and (container.wish or last.fact.signal == signal):
            return last.id
    return ""


async def remove(parts: Parts, container: Container, *, volumes: bool = False) -> None:
    """Remove a container that does not run: wait for its cables, then its files, then its rows.

    The caller holds the container's lock.  What does not end in time puts the container into quarantine, where the keeper
    tries again; it is told of once.
    """
    if container.state not in (State.REMOVING, State.DEAD):
        container = await step(parts, container, machine.RemoveRequested(volumes=volumes))
        faults.point("remove.requested")
    if reason := await _obstacle(parts, container.id):
        if container.state is State.REMOVING:
            await step(parts, container, machine.Quarantined(reason=reason))
        raise HawseError(f"container {container.name} could not be removed: {reason}", hint="it is tried again")
    if container.state is State.DEAD:
        container = await step(parts, container, machine.RemoveRequested(volumes=volumes))
    own_volumes = Removal(parts, await anonymous_of(parts.store, container.config) if volumes else [])
    # Nobody needs to wait for this one: that it is being removed is on the disk, and is carried through after a power cut.
    await forget(parts, container, own_volumes, owed=False)
    parts.live.attachments.drop(container.id)
    faults.point("remove.forgotten")
    await own_volumes.delete()


async def _obstacle(parts: Parts, container_id: ContainerId) -> str:
    """Wait for its cables, end what is left in its cgroup, remove its files; what stands in the way, "" for nothing.

    Its files go when a power cut cannot bring its record back without them.
    """
    if not await wait_unplugged(parts, container_id, UNPLUG_DEADLINE):
        return f"its network is still connected after {UNPLUG_DEADLINE:.0f} s; see `hawse inspect`"
    faults.point("remove.unplugged")
    if not await Cgroup.open(parts.cgroups, container_id).clear():
        return f"processes in its cgroup do not die; see cgroup.procs in {parts.cgroups.name}/{container_id}"
    try:
        await parts.store.durable()
    except HawseError as e:
        return f"its removal must be on the disk before its files go: {e.message}"
    faults.point("remove.durable")
    paths = parts.places.of(container_id)
    try:
        await parts.images.discard(paths)
    except (OSError, KernelError) as e:
        reason = e.message if isinstance(e, KernelError) else KernelError.of("rename", e).message
        return f"its files in {paths.state} stay: {reason}"
    faults.point("remove.files-gone")
    return ""
