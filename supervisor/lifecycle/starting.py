"""One start, from the row to the exec'd program, and its unwinding.

    claim      tx: starting, ports reserved
    prepare    directories, hosts files, cgroup, spec file
    launch     spawner → shim → init; the namespaces exist, init waits
    ready ∥ connect   mounts by init, network by the gate handlers, side by side
    gate       init execs
    commit     tx: running, container.started

Whatever fails, everything done so far is undone in reverse, each step whatever became of the others, the container is
`created` again, and StartError says which stage failed and why.  A crash instead of a failure leaves a row in `starting`,
which recovery unwinds the same way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial

import anyio
import structlog
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import HawseError, KernelError, StartError, TeardownError
from hawse.supervisor.core.model import Container, ContainerId, NetworkName
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.lifecycle import confining, network_files
from hawse.supervisor.lifecycle.creating import lease, prepare
from hawse.supervisor.lifecycle.networks import UNPLUG_DEADLINE, plugged, wait_unplugged
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.linux import cgroup_devices, descriptors
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.network import ports
from hawse.supervisor.network.teardown import Teardown
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.spec import Surroundings, shim_spec
from hawse.supervisor.shim.specs import ShimSpec
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()


class Stages:
    """How long each stage of a start took, in microseconds."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self._begun = time.perf_counter_ns()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter_ns()
        try:
            yield
        finally:
            self.taken[stage] = (time.perf_counter_ns() - begun) // 1000

    def total(self) -> dict[str, int]:
        return {**self.taken, "total": (time.perf_counter_ns() - self._begun) // 1000}


async def start(parts: Parts, dispatcher: Dispatcher, container: Container) -> Container:
    """Start it; the caller holds the container's lock.

    Raises StartError, whose cause is a TeardownError when some of the undoing failed too, or UserError with nothing done.
    """
    if not await wait_unplugged(parts, container.id, UNPLUG_DEADLINE):
        raise StartError("the network of its last run is still connected", stage="network", hint="see `hawse audit`")
    stages = Stages()
    try:
        with stages.measure("claim"):
            container = (await dispatcher.gate(events.PreStart(container=container))).container
            container = await _claim(parts, container)
    except HawseError as e:
        await _refused(parts, container, e)
        raise
    faults.point("start.claimed")
    teardown = Teardown(f"undo the start of {container.name}")
    try:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(teardown.step, _undo_network, parts, container)
            with stages.measure("prepare"):
                spec = await _prepare(parts, container, undo, teardown)
            faults.point("start.prepared")
            with stages.measure("launch"):
                shim = await parts.spawner.launch(spec)
            faults.point("start.launched")
            undo.push_async_callback(teardown.step, _undo_shim, parts, shim)
            parts.live.shims[container.id] = shim
            await _ready_and_connected(dispatcher, container, shim, stages)
            await parts.live.attachments.hand_over(container.id, shim)
            faults.point("start.connected")
            with stages.measure("gate"):
                stages.taken.update(await shim.open_gate())
            faults.point("start.gate-open")
            started = await _commit(parts, container, shim, stages)
            faults.point("start.committed")
            undo.pop_all()
            return started
    except BaseException as e:
        failure = _failure(e)
        faults.point("start.undone")
        parts.live.attachments.drop(container.id)
        if teardown.error:  # the plan finds what is left
            log.error("start_not_undone", container=container.id[:12], error=str(teardown.error))
        with anyio.CancelScope(shield=True):
            await _give_up(parts, container, failure)
        if isinstance(e, Exception):
            raise failure from teardown.error or e
        raise


async def _claim(parts: Parts, container: Container) -> Container:
    """Ports are reserved and held for as long as the container runs, as docker does it; host port 0 is any free one.

    Addresses are its own since it was created, but in a network that was removed and made anew in between.
    """
    descriptors.check_room()
    confined = replace(container, apparmor=confining.profile(container.config))

    def claim(tx: Tx) -> Container:
        hold = partial(parts.live.ports.hold, container.id)
        tx.reserve_ports(container.id, ports.resolve(container.config.published, tx.port_holders, container, hold))
        for request in container.config.endpoints:
            network = tx.network(request.network)
            if network is not None and not tx.leases(request.network, container_id=container.id):
                lease(tx, container.id, request, network)
        return move(tx, network_files.named(tx, confined), machine.StartRequested(), parts.clock())

    try:
        return await parts.store.transact(claim)
    except BaseException:
        parts.live.ports.release(container.id)
        raise


async def _refused(parts: Parts, container: Container, error: HawseError) -> None:
    """Nothing was changed; the journal still says that it was tried, and `--rm` removes what cannot start."""
    fact = events.ContainerStartFailed(container=container, stage="claim", error=error.message)
    parts.live.attachments.drop(container.id)
    await parts.store.transact(lambda tx: tx.append(fact))


async def _prepare(parts: Parts, container: Container, undo: AsyncExitStack, teardown: Teardown) -> ShimSpec:
    await prepare(parts, container)
    paths = parts.places.of(container.id)
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    cgroup = Cgroup.create(
        parts.cgroups, container.id, container.config.resources, cgroup_devices.rules(container.config)
    )
    undo.push_async_callback(teardown.step, cgroup.clear)
    config = container.config
    net, provided = await _net(parts, container)
    await network_files.write(parts, container)
    image = await parts.images.find(config.image_id) if config.image_id else None
    return shim_spec(
        container,
        Surroundings(
            paths=paths,
            provided=parts.places.of(provided),
            lower=tuple(map(str, parts.images.lower_dirs(image))) if image else (config.rootfs,),
            volumes={m.source: str(parts.places.volume(m.source)) for m in config.mounts if m.type == "volume"},
            cgroup_v2=cgroup.v2_path,
            cgroup_v1=tuple(cgroup.v1_paths),
            seccomp=parts.places.seccomp_filter(config),
            net=net,
        ),
    )


async def _net(parts: Parts, container: Container) -> tuple[str, ContainerId]:
    """`host`, `new`, or `pid:N` of the container whose network is shared; and whose files go with it."""
    mode, _, target = container.config.network_mode.partition(":")
    if mode != "container":
        return "host" if mode == "host" else "new", container.id
    other, owner = await parts.store.read(lambda tx: (found := tx.find(target), network_files.owner(tx, found)))
    if other.process is None or not other.state.is_alive:
        raise StartError(
            f"cannot join network of a non running container: {other.id}",
            stage="network",
            hint=f"start {other.name} first",
        )
    if owner is None:
        raise StartError(
            f"cannot join network of {other.name}: the container whose network it shares has been removed",
            stage="network",
            hint=f"make {other.name} anew",
        )
    return f"pid:{other.process.pid}", owner.id


async def _ready_and_connected(dispatcher: Dispatcher, container: Container, shim: Shim, stages: Stages) -> None:
    """Mounts and network are made side by side; the first failure cancels the other."""

    async def mounted() -> None:
        stages.taken.update(await shim.wait_ready())

    async with anyio.create_task_group() as group:
        group.start_soon(mounted)
        with stages.measure("network"):
            connected = await _connect(dispatcher, container, shim)
        stages.taken.update(connected.stages)


async def _connect(dispatcher: Dispatcher, container: Container, shim: Shim) -> events.PreConnect:
    try:
        return await dispatcher.gate(events.PreConnect(container=container, pid=shim.pid))
    except (KernelError, TeardownError):
        # The namespace may be gone because init failed: then its reason is the one to tell, and it is on its way.
        with anyio.move_on_after(1):
            await shim.wait_ready()
        raise


async def _commit(parts: Parts, container: Container, shim: Shim, stages: Stages) -> Container:
    def commit(tx: Tx) -> Container:
        started = machine.Started(
            process=shim.identity,
            shim=shim.shim_identity,
            endpoints=tuple(tx.endpoints(container.id)),
            stages=stages.total(),
        )
        return move(tx, container, started, parts.clock())

    return await parts.store.transact(commit)


async def _undo_network(parts: Parts, container: Container) -> None:
    """Unplug whatever was plugged: the rows tell what, and names and tags are the same each time.  Raises TeardownError."""
    teardown = Teardown(f"unplug {container.name}")
    for network, endpoint in await parts.store.read(lambda tx: plugged(tx, container.id)):
        await teardown.step(parts.network.unplug, network, endpoint)
    teardown.end()


async def _undo_shim(parts: Parts, shim: Shim) -> None:
    parts.live.shims.pop(shim.id, None)
    try:
        await shim.abort()
    finally:
        shim.close()


async def unwind(parts: Parts, container: Container, shim: Shim | None, failure: HawseError) -> None:
    """Undo a start that a crash interrupted, with the container's lock held or nobody else there yet.

    Raises TeardownError with the container given up all the same.
    """
    teardown = Teardown(f"undo the start of {container.name}")
    if shim is not None:
        await teardown.step(_undo_shim, parts, shim)
    await teardown.step(Cgroup.open(parts.cgroups, container.id).clear)
    await teardown.step(_undo_network, parts, container)
    await _give_up(parts, container, failure)
    teardown.end()


def _failure(error: BaseException) -> HawseError:
    """The one error to tell the user, out of the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, HawseError):
        return error
    if isinstance(error, OSError) and error.filename:
        return StartError(str(KernelError.of("prepare", error)), stage="prepare")
    return StartError(f"{type(error).__name__}: {error}", stage="engine")


async def _give_up(parts: Parts, container: Container, failure: HawseError) -> None:
    stage = failure.stage if isinstance(failure, StartError) else "engine"
    code = failure.exit_code if isinstance(failure, StartError) else 125

    def give_up(tx: Tx) -> None:
        endpoints = tx.endpoints(container.id)
        told = _told_connected(tx, container.id, limit=2 * len(endpoints)) if endpoints else set()
        for endpoint in endpoints:
            tx.delete_endpoint(container.id, endpoint.network)
            if endpoint.network in told:
                tx.append(events.NetworkDisconnected(container=container, endpoint=endpoint))
        tx.release_ports(container.id)
        parts.live.ports.release(container.id)
        failed = machine.StartFailed(stage=stage, error=failure.message, exit_code=code)
        move(tx, container, failed, parts.clock())

    await parts.store.transact(give_up)


def _told_connected(tx: Tx, container_id: ContainerId, *, limit: int) -> set[NetworkName]:
    """Networks that the journal has it connected to.  A row comes earlier than its event, so it may have none."""
    told: set[NetworkName] = set()
    last = tx.last_events(f"container/{container_id}", "network.connected", "network.disconnected", limit=limit)
    for event in last:
        if isinstance(event.fact, events.NetworkConnected):
            told.add(event.fact.endpoint.network)
        elif isinstance(event.fact, events.NetworkDisconnected):
            told.discard(event.fact.endpoint.network)
    return told
