"""The way out when the state database is lost or damaged: `hawse daemon --rebuild-state`.

    refuse   a start with a database that does not know what runs and lies here: it would be taken for leftovers
    aside    moves a damaged or foreign database away; one that is sound is left where it is
    rebuild  fills a fresh one, in one transaction: from the copies (copies.py), and from the shims, which know what runs

What cannot be rebuilt: the journal (a new epoch begins), subscriptions, and how far handlers had come.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.core.model import (
    ID_RANGE,
    Container,
    ContainerId,
    Image,
    ImageId,
    Network,
    ProcessIdentity,
    Record,
    State,
    Volume,
    decoder,
)
from hawse.supervisor.process.config import Config
from hawse.supervisor.reconcile import copies
from hawse.supervisor.reconcile.copies import ContainerCopy
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.places import Places
from hawse.supervisor.shim.specs import load_spec
from hawse.supervisor.store.opening import examine
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

R = TypeVar("R", bound=Record)
SIDE_FILES = ("", "-wal", "-shm")
_ID = re.compile(r"[0-9a-f]{64}\Z")
_WAY_OUT = "they go on. Put the database back that knows them, or have one made: `hawse daemon --rebuild-state`"


async def refuse(config: Config, store: Store) -> None:
    """Raises Unavailable when the database is another one than what runs and lies here belongs to.

    A row is there before its shim and as long as it: a living shim without one means that the database was lost.
    """
    known = await store.read(lambda tx: {container.id for container in tx.containers()})
    strangers = sorted(living(config, known))
    if strangers:
        raise Unavailable(
            f"{len(strangers)} containers run that the state database {store.path} does not know: "
            + ", ".join(name[:12] for name in strangers),
            hint=_WAY_OUT,
        )
    if store.journal.head == 0 and copies.any_written(config.root):
        raise Unavailable(
            f"the state database {store.path} is new, and {copies.directory(config.root)} has records of an earlier one",
            hint="`hawse daemon --rebuild-state` takes them over; remove that directory to begin anew without them",
        )


def living(config: Config, known: Collection[str] = ()) -> set[ContainerId]:
    """Containers whose shims listen; of those that are known nobody is asked."""
    places = Places.under(config)
    try:
        names = [entry.name for entry in os.scandir(places.runs) if _ID.match(entry.name)]
    except FileNotFoundError:
        return set()
    asked = [ContainerId(name) for name in names if name not in known]
    return {name for name in asked if _listens(places.of(name).socket)}


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def aside(config: Config, path: Path) -> bool:
    """Tell whether a new database has to be made.  A damaged one is kept beside it, under another name."""
    damage, known = examine(path)
    if not damage and not living(config, known) and (known or not copies.any_written(config.root)):
        log.warning("state_is_sound", path=str(path), hint="nothing was rebuilt; leave --rebuild-state out")
        return False
    kept = f"{path}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for suffix in SIDE_FILES:
        if os.path.exists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{kept}{suffix}")
    log.warning("state_put_aside", path=str(path), damage=damage or "it does not know what is here", kept=kept)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What a living shim knows about its container."""

    shim: ProcessIdentity
    process: ProcessIdentity


async def rebuild(config: Config, store: Store) -> None:
    """Fill a fresh database.  Raises Unavailable when that is not possible; nothing is in it then."""
    networks = list(_read(config, "network", Network))
    images = {image.id: image for image in _read(config, "image", Image)}
    volumes = list(_read(config, "volume", Volume))
    found = list(_read(config, "container", ContainerCopy, renew=copies.renewed))
    witnesses = {container_id: await _ask(config, container_id) for container_id in living(config)}
    for copy in found:
        if (wanted := copy.container.config.image_id) and wanted not in images:
            images[wanted] = _image_of(config, copy.container, wanted)
    # Those that run come first: a copy that was not removed in time must not have their name or address.
    found.sort(key=lambda copy: (copy.container.id not in witnesses, -copy.container.created_at))

    def fill(tx: Tx) -> int:
        for network in networks:
            tx.put_network(network)
            tx.append(events.NetworkCreated(network=network))
        for image in images.values():
            tx.put_image(image)
            tx.append(events.ImageCreated(image=image))
        for volume in volumes:
            tx.put_volume(volume)
            tx.append(events.VolumeCreated(volume=volume))
        return sum(_put(tx, config, copy, witnesses.get(copy.container.id)) for copy in found)

    made = await store.transact(fill)
    log.warning(
        "state_rebuilt",
        containers=made,
        running=len(witnesses),
        networks=len(networks),
        images=len(images),
        volumes=len(volumes),
    )


def _put(tx: Tx, config: Config, copy: ContainerCopy, witness: Witness | None) -> bool:
    """Put one container with all that belongs to it; False for one whose name or address a later one has."""
    container = _as_it_is(copy.container, witness)
    addresses = {(lease.network, lease.address) for lease in tx.leases()}
    if tx.container_named(container.name) or addresses & {(x.network, x.address) for x in copy.leases}:
        log.warning("record_is_old", container=container.id[:12], name=container.name)
        return False
    if container.uid_base is not None:
        tx.restore_id_range(container.id, (container.uid_base - config.subid_base) // ID_RANGE)
    tx.put(container)
    tx.append(events.ContainerCreated(container=container))
    for lease in copy.leases:
        tx.lease(lease)
    for endpoint in copy.endpoints:
        tx.put_endpoint(endpoint)
        if container.state.is_alive:
            tx.reserve_ports(container.id, endpoint.ports)
        tx.append(events.NetworkConnected(container=container, endpoint=endpoint, endpoints=copy.endpoints))
    if container.state.is_running:
        tx.append(events.ContainerStarted(container=container, endpoints=copy.endpoints))
    return True


def _as_it_is(container: Container, witness: Witness | None) -> Container:
    """The record in the state that its shim shows.  One that should run and has none is collected by recovery."""
    if witness is None:
        lost = container.state is State.RESTARTING  # recovery finds it ended, and its policy starts it again
        return replace(container, state=State.RUNNING, process=None, shim=None) if lost else container
    return replace(
        container,
        state=State.PAUSED if container.state is State.PAUSED else State.RUNNING,
        process=witness.process,
        shim=witness.shim,
        started_at=container.started_at if container.process == witness.process else time.time_ns(),
    )


async def _ask(config: Config, container_id: ContainerId) -> Witness:
    paths = Places.under(config).of(container_id)
    shim = await Shim.reconnect(paths.socket, container_id, paths.state)
    try:
        return Witness(shim=shim.shim_identity, process=shim.identity)
    finally:
        shim.close()


def _image_of(config: Config, container: Container, image_id: ImageId) -> Image:
    """An image whose copy is missing: its layers are those of a container that was made from it.

    Raises Unavailable: without them the layers would be taken for leftovers.
    """
    try:
        lower = load_spec(Places.under(config).of(container.id).spec.read_text()).rootfs.lower
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Unavailable(
            f"the record of image {image_id} is lost, and container {container.name} does not tell its layers: {e}",
            hint="put a copy of the database back",
        ) from e
    layers = tuple(Path(directory).name for directory in reversed(lower))
    return Image(id=image_id, created_at=container.created_at, layers=layers)


def _read(
    config: Config, kind: str, form: type[R], *, renew: Callable[[bytes], bytes] = lambda text: text
) -> Iterator[R]:
    """The copies that can be read; the others are told of and left where they are.  `renew`: those of an earlier daemon."""
    decode = decoder(form)
    for text in copies.read(config.root, kind):
        try:
            yield decode.decode(renew(text))
        except msgspec.DecodeError as e:
            log.error("copy_not_readable", kind=kind, error=str(e))
