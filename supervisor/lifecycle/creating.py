"""Creating a container: everything is validated, then one transaction claims name, address and ids, then the
directories are made.  A crash after the transaction leaves a created container whose start makes the rest."""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine, names
from hawse.supervisor.core.capabilities import capabilities
from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.model import (
    ID_RANGE,
    Container,
    ContainerConfig,
    ContainerId,
    EndpointRequest,
    Lease,
    Network,
    NetworkName,
    State,
)
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.lifecycle import confining, filling, leaving, links, volumes
from hawse.supervisor.lifecycle.networks import BUILTIN, Networks, standing
from hawse.supervisor.linux import journald
from hawse.supervisor.network import ipam
from hawse.supervisor.network.teardown import Teardown, undone
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx


async def create(
    parts: Parts, networks: Networks, dispatcher: Dispatcher, config: ContainerConfig, name: str
) -> Container:
    """Raises UserError, NotFound or Conflict with nothing done, and what a gate raises."""
    if name:
        name = names.check_container_name(name)
        await leaving.wait_gone(parts, lambda tx: [c for c in (tx.container_named(name),) if c])
    config, plugged = await _resolve_networks(parts, networks, config)
    _check(config)
    await parts.store.read(lambda tx: links.check(tx, config))
    container_id = names.container_id(parts.random)
    asked = Container(id=container_id, name=name, config=config, state=State.CREATED, created_at=parts.clock())
    config = (await dispatcher.gate(events.PreCreate(container=asked))).container.config
    _check(config)

    def claim(tx: Tx) -> Container:
        chosen = _claim_name(parts.random, tx, name)
        uid_base = None
        if config.userns != "host" and not config.privileged:
            uid_base = parts.config.subid_base + tx.claim_id_range(container_id) * ID_RANGE
        container = Container(
            id=container_id,
            name=chosen,
            config=volumes.claim(tx, parts, config),
            state=State.CREATED,
            created_at=parts.clock(),
            uid_base=uid_base,
            story=("created",),
        )
        tx.put(container)
        for request in config.endpoints:
            lease(tx, container_id, request, standing(parts.live, tx, request.network, plugged[request.network].id))
        tx.append(events.ContainerCreated(container=container))
        return container

    container = await leaving.transact(parts, claim, lambda tx: tenants(tx, plugged))
    faults.point("create.claimed")
    try:
        await prepare(parts, container)
    except BaseException as e:
        invented = volumes.Removal(parts, volumes.invented_for(config, container.config))
        if both := await undone(e, f"create {container.name} and undo it", _undo, parts, container, invented):
            raise both from e
        raise
    faults.point("create.prepared")
    return container


async def _undo(parts: Parts, container: Container, invented: volumes.Removal) -> None:
    """Rows first: with them it would be a container without its files.  Raises TeardownError."""
    await forget(parts, container, invented)
    teardown = Teardown(f"undo the creation of {container.name}")
    await teardown.step(invented.delete)
    await teardown.step(parts.images.discard, parts.places.of(container.id))
    teardown.end()


async def prepare(parts: Parts, container: Container) -> None:
    """The container's directories, and what is in its volumes; safe to run again."""
    paths = parts.places.of(container.id)
    paths.state.mkdir(mode=0o710, parents=True, exist_ok=True)
    parts.images.prepare(paths, container.uid_base)
    volumes.make_directories(parts.places, container.config)
    await filling.fill(parts, container)


async def forget(parts: Parts, container: Container, own_volumes: volumes.Removal, *, owed: bool = True) -> None:
    """Every row of a container and of its own volumes goes, and its last event is written; `owed` as in the store.

    A volume that another container has come to use is that one's now.
    """

    def rows(tx: Tx) -> None:
        removed = machine.step(container, machine.Removed(), parts.clock())
        tx.delete_container(container.id)
        for fact in removed.facts:
            tx.append(fact)
        own_volumes.forget(tx)

    await own_volumes.transact(rows, owed=owed)


def lease(tx: Tx, container_id: ContainerId, request: EndpointRequest, network: Network) -> None:
    assert network.subnet is not None and network.gateway is not None  # as all that can be connected to
    held = tx.leased(network.name)
    address = ipam.allocate(
        network.subnet,
        network.gateway,
        held,
        requested=request.ip,
        hint=tx.last_lease(network.name),
        within=network.ip_range,
        network=network.name,
        owner=lambda address: f"container {held.holder(address)}",
    )
    tx.lease(Lease(network=network.name, address=address, container_id=container_id))


def tenants(tx: Tx, networks: Iterable[NetworkName]) -> list[Container]:
    """Return those that have an address in one of the networks."""
    holders = {lease.container_id for network in networks for lease in tx.leases(network)}
    return [container for holder in holders if (container := tx.container(holder))]


def _claim_name(random: Random, tx: Tx, name: str) -> str:
    if name:
        if holder := tx.container_named(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder.id}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return name
    for attempt in itertools.count():
        invented = names.container_name(random)
        if attempt > 5:  # a crowded machine
            invented += str(random.randrange(10 ** (attempt - 5)))
        if not tx.container_named(invented):
            return invented
    raise AssertionError  # count() has no end


async def _resolve_networks(
    parts: Parts, networks: Networks, config: ContainerConfig
) -> tuple[ContainerConfig, dict[NetworkName, Network]]:
    """Names and ids of networks become names; `container:X` becomes an id."""
    mode, _, target = config.network_mode.partition(":")
    if mode == "container" and target:
        other = await parts.store.read(lambda tx: tx.find(target))
        return replace(config, network_mode=f"container:{other.id}", endpoints=()), {}
    if mode in BUILTIN:
        if config.endpoints:
            raise UserError(f"a container with --network {mode} cannot be connected to networks")
        return replace(config, endpoints=()), {}
    requests = config.endpoints or (EndpointRequest(network=NetworkName(config.network_mode)),)
    resolved, plugged = [], {}
    for request in requests:
        try:
            network = await networks.find(request.network)
        except NotFound as e:
            known = [n.name for n in await networks.all()]
            near = difflib.get_close_matches(request.network, known, n=3)
            raise NotFound(
                f"network {request.network} not found",
                hint=f"did you mean {' or '.join(near)}?" if near else "see `hawse network ls`",
            ) from e
        if request.ip and (network.subnet is None or request.ip not in network.subnet):
            raise UserError(f"{request.ip} is not in the subnet {network.subnet} of network {network.name}")
        resolved.append(replace(request, network=network.name))
        plugged[network.name] = network
    first = resolved[0].network
    return replace(config, network_mode=first, endpoints=tuple(resolved)), plugged


def _check(config: ContainerConfig) -> None:
    """Refuse what can be known to be wrong without making anything."""
    if not config.argv:
        raise UserError("no command specified", hint="give one after the image, or set CMD in the image")
    capabilities(config)
    confining.check(config)
    if config.log_driver == "journald" and not os.path.exists(journald.PATH):
        raise UserError(
            "failed to initialize logging driver: journald is not enabled on this host",
            hint=f"there is no {journald.PATH}; --log-driver json-file keeps the log in a file",
        )
    cores = os.cpu_count() or 1
    if config.resources.cpus is not None and not 0.01 <= config.resources.cpus <= cores:
        raise UserError(
            f"Range of CPUs is from 0.01 to {cores}.00, as there are only {cores} CPUs available",
            hint=f"--cpus {config.resources.cpus:g}",
        )
    for mount in config.mounts:
        if not mount.target.startswith("/"):
            raise UserError(f"invalid mount path: '{mount.target}' mount path must be absolute")
        if mount.type == "bind" and not os.path.lexists(mount.source):
            raise UserError(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
                hint="create it first",
            )
    if config.rootfs and not os.path.isdir(config.rootfs):
        raise UserError(f"--rootfs {config.rootfs}: no such directory")
