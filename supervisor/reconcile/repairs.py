"""Looking and applying: the records and the world as the plan wants them, and its actions carried out.

Everything applied is idempotent and looks again under the container's lock, since the world may have moved on between the
look and the act.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import structlog

from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import Conflict, HawseError
from hawse.supervisor.core.model import Container, ContainerId, Endpoint, Network, PortBinding
from hawse.supervisor.lifecycle import ending
from hawse.supervisor.linux import process, threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.locks import Busy
from hawse.supervisor.network.teardown import Teardown
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile.plan import Action, Kind, Records, Seen, belongs, plan
from hawse.supervisor.runtime.exitrecord import ExitInfo, read_exit_record
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

ID = re.compile(r"[0-9a-f]{64}\Z")
LOCK_PATIENCE = 0.25
"""Seconds that a repair waits for a lock.  Who has it for longer may change what it is about: that is judged anew."""


async def audit(parts: Parts) -> list[Action]:
    """Look at everything and plan; changes nothing."""
    actions, _ = await judge(parts)
    return actions


async def judge(parts: Parts) -> tuple[list[Action], frozenset[str]]:
    """The same, and what could not be judged: containers and networks that were being worked on during the looks."""
    with parts.live.locks.watching() as busy:
        seen = await look(parts)
        records = await parts.store.read(_records)
        expected = parts.network.expected
        return plan(records, seen, expected, mark=parts.config.tag, busy=busy, now=parts.clock()), frozenset(busy)


async def look(parts: Parts) -> Seen:
    return Seen(
        network=await parts.network.observe(await parts.store.read(lambda tx: tx.networks())),
        cgroups=frozenset(parts.cgroups.owners()),
        state_dirs=_directories(parts.places.states),
        run_dirs=_directories(parts.places.runs),
        shims=frozenset(parts.live.shims),
        held=parts.live.ports.held,
        taken=parts.live.ports.taken,
    )


def _records(tx: Tx) -> Records:
    return Records(
        containers={c.id: c for c in tx.containers()},
        networks={n.name: n for n in tx.networks()},
        endpoints=tx.endpoints(),
        reserved=tx.reservations(),
    )


def _directories(path: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in os.scandir(path) if ID.match(entry.name))
    except FileNotFoundError:
        return frozenset()


async def apply(parts: Parts, action: Action, finish_removal: Callable[[ContainerId], Awaitable[None]]) -> None:
    """Carry one action out.  Raises HawseError when it cannot be done, Busy when a verb is at work on what it is about."""
    container_id, hold = ContainerId(action.container_id), partial(parts.live.locks.hold, within=LOCK_PATIENCE)
    match action.kind:
        case Kind.RESTORE_TABLE:
            await parts.network.heal()
            await _restore_unknown(parts)
        case Kind.MEND_NETWORK:
            async with hold(f"network/{action.network}"):  # it may be being removed
                network = await parts.store.read(lambda tx: tx.network(action.network))
                if network is not None:
                    await parts.network.mend(network)
        case Kind.REPLUG | Kind.ATTACH:
            async with hold(container_id):
                await _replug(parts, container_id, action)
        case Kind.HOLD_PORTS:
            async with hold(container_id):
                await hold_ports(parts, container_id)
        case Kind.COLLECT:
            async with hold(container_id):
                if container_id not in parts.live.shims:
                    await collect(parts, container_id)
        case Kind.UNPLUG:
            async with hold(container_id):
                await unplug(parts, container_id)
        case Kind.FINISH_REMOVAL:
            await finish_removal(container_id)
        case Kind.DISCARD_ELEMENTS | Kind.DELETE_LINK:
            async with hold(container_id or f"network/{action.network}"):
                await _discard(parts, action)
        case Kind.REMOVE_CGROUP:
            async with hold(container_id):
                await _remove_cgroup(parts, container_id)
        case Kind.REMOVE_STATE:
            await parts.images.discard(parts.places.of(container_id))
        case Kind.REMOVE_RUN:
            shutil.rmtree(parts.places.of(container_id).run, ignore_errors=True)  # a few files on tmpfs


async def _restore_unknown(parts: Parts) -> None:
    """Publish what should be and what this process has never put into the table.  Raises Busy, when the others are done."""
    busy: Busy | None = None
    for owner in {e.container_id for e in parts.network.unknown(await parts.store.read(published))}:
        try:
            async with parts.live.locks.hold(owner, within=LOCK_PATIENCE):
                endpoints = await parts.store.read(published)
                await parts.network.restore(e for e in endpoints if e.container_id == owner)
        except Busy as e:
            busy = e
    if busy is not None:
        raise busy


async def _replug(parts: Parts, container_id: ContainerId, action: Action) -> None:
    def current(tx: Tx) -> tuple[Container | None, list[Endpoint], Network | None]:
        return tx.container(container_id), tx.endpoints(container_id), tx.network(action.network)

    container, endpoints, network = await parts.store.read(current)
    shim = parts.live.shims.get(container_id)
    if container is None or network is None or shim is None or not container.state.is_alive:
        return
    for endpoint in endpoints:
        if endpoint.network != action.network or not belongs(container, endpoint):
            continue
        if action.kind is Kind.ATTACH:
            await parts.network.attach(network, endpoint)
            continue
        inside = await shim.netlink_socket()
        try:
            await parts.network.plug(network, endpoint, inside, shim.pid)
        finally:
            inside.close()  # it pins the network namespace


async def hold_ports(parts: Parts, container_id: ContainerId) -> None:
    """Hold what a running container has published.  The caller holds its lock, or nobody else is there yet.

    Raises Conflict when others have some of it; whoever has taken it since the last look is told.
    """

    def current(tx: Tx) -> tuple[Container | None, tuple[PortBinding, ...]]:
        return tx.container(container_id), tx.reserved_ports(container_id)

    container, bindings = await parts.store.read(current)
    if container is None or not container.state.is_alive:
        return
    known = parts.live.ports.taken

    def hold() -> dict[PortBinding, str]:
        return {b: who for b in bindings if (who := parts.live.ports.hold(container_id, b, again=True))}

    taken = await threads.run_sync(hold)
    fresh = {binding: who for binding, who in taken.items() if known.get(binding.place) != who}

    def tell(tx: Tx) -> None:
        for binding, who in fresh.items():
            tx.append(events.NetworkPortTaken(container=container, port=binding, by=who))

    if fresh:
        await parts.store.transact(tell)
        for binding, who in fresh.items():
            log.warning("port_taken", container=container_id[:12], port=binding.place, by=who)
    if taken:
        told = ", ".join(f"{binding.place} by {who}" for binding, who in taken.items())
        raise Conflict(f"ports of {container.name} have been taken: {told}")


async def _discard(parts: Parts, action: Action) -> None:
    """Delete what has no owner, if it has got none since."""
    device = action.object.removeprefix("link ") if action.kind is Kind.DELETE_LINK else ""

    def owned(tx: Tx) -> bool:
        if device:
            expected = map(parts.network.expected, tx.networks())
            return device in {e.veth for e in tx.endpoints()} | {d.name for each in expected for d in each.devices}
        if action.container_id:
            return any(e.network == action.network for e in tx.endpoints(ContainerId(action.container_id)))
        return tx.network(action.network) is not None

    if await parts.store.read(owned):
        return
    if device:
        await parts.network.delete_link(device)
    else:
        await parts.network.discard(action.elements)


async def _remove_cgroup(parts: Parts, container_id: ContainerId) -> None:
    container = await parts.store.read(lambda tx: tx.container(container_id))
    if container is not None and container.state.is_alive:
        return
    if not await Cgroup.open(parts.cgroups, container_id).clear():
        raise HawseError(f"processes in the cgroup of {container_id[:12]} do not die")


def published(tx: Tx) -> list[Endpoint]:
    """Endpoints of containers that run, but for those that are being disconnected."""
    alive = {c.id: c for c in tx.containers() if c.state.is_running}
    there = [(alive.get(endpoint.container_id), endpoint) for endpoint in tx.endpoints()]
    return [endpoint for container, endpoint in there if container and belongs(container, endpoint)]


async def collect(parts: Parts, container_id: ContainerId) -> None:
    """A container whose keeper is gone: end what may live of it, write its exit down.  The caller holds its lock."""
    container = await parts.store.read(lambda tx: tx.container(container_id))
    if container is None or not container.state.is_alive:
        return
    restarted = container.process is not None and container.process.boot_id != process.boot_id()
    info = read_exit_record(parts.places.of(container_id).state)
    if info is None:
        reason = machine.REBOOTED if restarted else "its shim ended without an exit record"
        info = ExitInfo(code=None, reason=reason)
    if not restarted:
        Cgroup.open(parts.cgroups, container_id).kill()  # nobody keeps it: no process without a keeper
    await ending.record_exit(parts, container_id, info)


async def unplug(parts: Parts, container_id: ContainerId) -> None:
    """Release the endpoints of a container that has ended.  The caller holds its lock.

    Raises TeardownError; those that could be released are.
    """

    def current(tx: Tx) -> tuple[Container | None, list[Endpoint]]:
        return tx.container(container_id), tx.endpoints(container_id)

    container, endpoints = await parts.store.read(current)
    if container is None or container.state.is_alive:
        return
    teardown, kept = Teardown(f"unplug {container.name}"), set()
    for endpoint in endpoints:
        network = await parts.store.read(lambda tx: tx.network(endpoint.network))  # noqa: B023  awaited at once
        if network and not await teardown.step(parts.network.unplug, network, endpoint, grace=0):
            kept.add(endpoint.network)

    def released(tx: Tx) -> None:
        for endpoint in tx.endpoints(container_id):
            if endpoint.network not in kept:
                tx.delete_endpoint(container_id, endpoint.network)
                tx.append(events.NetworkDisconnected(container=container, endpoint=endpoint))

    await parts.store.transact(released)
    teardown.end()
