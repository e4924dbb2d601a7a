"""Connecting a container to one more network, and taking it off one, whether it runs or not.

What a container is to be plugged into is its config; here that changes, with the address that goes with it.  Plugging and
unplugging are the handlers': `connect` is asked as a gate, `disconnect` follows from the event, also after a crash.
The caller holds the container's lock.
"""

from __future__ import annotations

import anyio
import structlog
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, Forbidden, HawseError, UserError
from hawse.supervisor.core.model import Container, EndpointRequest, Network, NetworkName, State
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.lifecycle import leaving, network_files
from hawse.supervisor.lifecycle.creating import lease, tenants
from hawse.supervisor.lifecycle.networks import BUILTIN, DEFAULT, UNPLUG_DEADLINE, plugged, standing
from hawse.supervisor.network.teardown import Teardown, undone
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

_STILL = (State.CREATED, State.EXITED, State.RESTARTING)


async def connect(
    parts: Parts, dispatcher: Dispatcher, container: Container, network: Network, request: EndpointRequest
) -> Container:
    """Raises UserError, Conflict or what plugging raises, with nothing changed.

    A cable that is still being pulled would be taken for the new one: it has to be out first.
    """
    _check(parts, container, network)
    if any(r.network == network.name for r in container.config.endpoints):
        raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
    if request.links and network.name == DEFAULT:
        raise UserError("links are only supported for user-defined networks", hint="run --link is for the default one")
    if request.ip and (network.subnet is None or request.ip not in network.subnet):
        raise UserError(f"{request.ip} is not in the subnet {network.subnet} of network {network.name}")
    await _wait_unplugged(parts, container, network)  # a crash, or the deadline, may have cut its disconnect off
    endpoints = (*container.config.endpoints, replace(request, network=network.name))
    joined = replace(container, config=replace(container.config, endpoints=endpoints))

    def claim(tx: Tx) -> None:
        tx.put(joined)
        lease(tx, container.id, joined.config.endpoints[-1], standing(parts.live, tx, network.name, network.id))

    await leaving.transact(parts, claim, lambda tx: tenants(tx, [network.name]))
    if container.state.is_running:
        faults.point("live.claimed")
        try:
            await dispatcher.gate(events.PreConnect(container=joined, pid=parts.live.shims[container.id].pid))
        except BaseException as e:
            what = f"connect {container.name} to {network.name} and take it back"
            if both := await undone(e, what, _take_back, parts, container, network):
                raise both from e
            raise
        faults.point("live.connected")
        await network_files.follow(parts, joined)
    return joined


async def finish_all(parts: Parts, dispatcher: Dispatcher) -> None:
    """Connects under which an earlier daemon died: gone through again, or else taken back.  Before anybody has a verb."""

    def interrupted(tx: Tx) -> list[tuple[Container, list[Network]]]:
        return [(c, untold) for c in tx.containers() if c.id in parts.live.shims and (untold := _untold(tx, c))]

    for container, untold in await parts.store.read(interrupted):
        try:
            async with parts.live.locks.hold(container.id):  # its end may be recorded in these moments
                if container.id in parts.live.shims:
                    await _finish(parts, dispatcher, container, untold)
        except HawseError as e:
            log.error("not_connected", container=container.id[:12], networks=[n.name for n in untold], error=str(e))


async def _finish(parts: Parts, dispatcher: Dispatcher, container: Container, untold: list[Network]) -> None:
    """Finish one change: what was plugged in without having been told is pulled first."""
    pulled = Teardown(f"pull what {container.name} was not told to be connected to")
    for network in untold:
        await pulled.step(_pull, parts, container, network)
    pulled.end()
    try:
        await dispatcher.gate(events.PreConnect(container=container, pid=parts.live.shims[container.id].pid))
    except HawseError as e:
        back = Teardown(f"connect {container.name} and take it back")
        for network in untold:
            left = tuple(r for r in container.config.endpoints if r.network != network.name)
            without = replace(container, config=replace(container.config, endpoints=left))
            if await back.step(_take_back, parts, without, network):
                container = without
        if back.error:
            raise back.error from e
        raise
    finally:
        await network_files.follow(parts, container)


def _untold(tx: Tx, container: Container) -> list[Network]:
    """Return the networks that a running container belongs to without the journal knowing that it is connected to them."""
    recorded = {endpoint.network for endpoint in tx.endpoints(container.id) if endpoint.connected_at}
    unrecorded = [r.network for r in container.config.endpoints if r.network not in recorded]
    if not unrecorded:
        return []
    told: dict[NetworkName, bool] = {}  # by an older daemon: rows got their time later than the journal its event
    last = tx.last_events(f"container/{container.id}", events.NetworkConnected.TYPE, events.NetworkDisconnected.TYPE)
    for event in last:
        if isinstance(event.fact, events.NetworkConnected | events.NetworkDisconnected):
            told[event.fact.endpoint.network] = isinstance(event.fact, events.NetworkConnected)
    return [network for name in unrecorded if not told.get(name) and (network := tx.network(name))]


async def _pull(parts: Parts, container: Container, network: Network) -> None:
    await _unplug(parts, container, network)
    await parts.store.transact(lambda tx: tx.delete_endpoint(container.id, network.name))


async def _unplug(parts: Parts, container: Container, network: Network) -> None:
    for there, endpoint in await parts.store.read(lambda tx: plugged(tx, container.id)):
        if there.name == network.name:
            await parts.network.unplug(there, endpoint, grace=0)


async def _take_back(parts: Parts, container: Container, network: Network) -> None:
    """Make it as it was before, the cable included."""
    await _unplug(parts, container, network)

    def forget(tx: Tx) -> None:
        tx.put(container)
        tx.delete_endpoint(container.id, network.name)
        tx.release_leases(container.id, network.name)

    await parts.store.transact(forget)


async def disconnect(parts: Parts, container: Container, network: Network) -> None:
    """Returns when the cable is out.  Raises Conflict when it is not on that network."""
    _check(parts, container, network)
    left = tuple(r for r in container.config.endpoints if r.network != network.name)
    if left == container.config.endpoints:
        raise Conflict(f"container {container.id} is not connected to network {network.name}")
    alone = replace(container, config=replace(container.config, endpoints=left))

    def leave(tx: Tx) -> None:
        cables = tuple(e for e in tx.endpoints(container.id) if e.network == network.name)
        tx.put(alone)
        tx.append(events.NetworkLeft(container=alone, endpoints=cables, network=network.name))
        if not cables:
            tx.release_leases(container.id, network.name)

    await parts.store.transact(leave)
    faults.point("live.left")
    await _wait_unplugged(parts, container, network)
    if container.state.is_running:
        await network_files.follow(parts, alone)


async def _wait_unplugged(parts: Parts, container: Container, network: Network) -> None:
    """Wait until nothing is recorded of a cable of a network that it has left.  Raises HawseError."""
    deadline = anyio.current_time() + UNPLUG_DEADLINE
    while True:
        with parts.live.waits.expect(f"container/{container.id}", "network.disconnected") as out:
            if not await parts.store.read(lambda tx: tx.endpoints(container.id, network=network.name)):
                return
            if await out.wait(max(0, deadline - anyio.current_time())) is None:
                raise HawseError(f"{container.name} is still plugged into {network.name} after {UNPLUG_DEADLINE:.0f} s")


def _check(parts: Parts, container: Container, network: Network) -> None:
    if not container.state.is_running and container.state not in _STILL:
        raise Conflict(f"container {container.name} is {container.state}, its networks cannot be changed now")
    if not parts.network.traits(network).connects:
        raise UserError(f"container cannot be connected to the {network.name} network, or disconnected from it")
    mode = container.config.network_mode
    if mode in BUILTIN or mode.startswith("container:"):
        raise Forbidden(f"container {container.name} was created with --network {mode}, it has no networks to change")
