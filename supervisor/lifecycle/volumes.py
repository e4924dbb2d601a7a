"""Named and anonymous volumes: a row and a directory each, made before the container that uses them and kept after it.

The row is written first; the directory is made again wherever it is missing.  Removal takes the row and moves the directory
aside in one transaction, so that a container created meanwhile gets a new one, never half of the old.  A crash or a power cut
before the transaction counts has the directory put back (`settle`); after that it is rubbish.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random

import structlog
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, HawseError, KernelError, NotFound
from hawse.supervisor.core.model import Container, ContainerConfig, Volume
from hawse.supervisor.core.names import check_volume_name
from hawse.supervisor.lifecycle import filling, leaving
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.diskusage import apparent_size
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.places import Places
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

TRASH = "trash"  # the images' too (images/layers.py), who sweep it at the start


class Volumes:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def make(self) -> None:
        """The directories that all volumes are in; others than root may pass through, to what is theirs."""
        volumes = self._parts.places.volumes
        volumes.mkdir(mode=0o711, parents=True, exist_ok=True)
        filling.finish(volumes)
        (self._parts.config.root / TRASH).mkdir(mode=0o700, exist_ok=True)

    async def create(self, name: str, labels: dict[str, str]) -> Volume:
        """Create one, or return the one of that name that exists already, as with docker.  Raises UserError."""
        parts = self._parts
        if name:
            check_volume_name(name)
        volume = Volume(
            name=name or _invented(parts.random), created_at=parts.clock(), labels=labels, anonymous=not name
        )
        volume = await parts.store.transact(lambda tx: _ensure(tx, volume))
        make_directory(parts.places.volume(volume.name))
        return volume

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Raises NotFound (not with force), Conflict while a container, even a stopped one, uses it."""
        await leaving.wait_gone(self._parts, lambda tx: [c for c in tx.containers() if name in _mounted(c)])
        try:
            await self.discard([name])
        except NotFound:
            if not force:
                raise

    async def unused(self, wanted: Callable[[Volume], bool]) -> list[Volume]:
        """Return those that no container uses and that `wanted` chooses."""

        def read(tx: Tx) -> list[Volume]:
            used = _users(tx)
            return [v for v in tx.volumes() if v.name not in used and wanted(v)]

        return await self._parts.store.read(read)

    async def discard(self, names: Collection[str]) -> int:
        return await discard(self._parts, names)


async def settle(places: Places, store: Store) -> None:
    """Directories follow the rows after a crash or a power cut.  At the start, before the trash is emptied.

    Those of volumes whose removal was never committed are put back.  Those whose removal was committed, and whose way
    into the trash was not yet on the disk when the power went, go there now.  Others that no row knows are left alone.
    """
    root, place = places.root, places.volumes
    (root / TRASH).mkdir(mode=0o700, exist_ok=True)
    known = {volume.name: volume for volume in await store.read(lambda tx: tx.volumes())}
    for name, volume in known.items():
        aside = (root / TRASH).glob(f"{_stamp(volume)}-*/{glob.escape(name)}")
        if not os.path.exists(place / name) and (found := next(aside, None)):
            os.rename(found, place / name)
    for path in place.iterdir():
        if path.name in known or path.name == filling.PLACE:
            continue
        if gone := await store.read(lambda tx, path=path: _removed(tx, path)):  # type: ignore[misc]
            _move(path, _aside(root, gone))
        else:
            log.warning("volume_of_nobody", path=str(path), hint=f"`hawse volume create {path.name}` takes it over")


def _removed(tx: Tx, path: Path) -> Volume | None:
    """The volume that was the last of this name, if it was removed, and the directory is as it was before."""
    for last in tx.last_events(f"volume/{path.name}", limit=1):
        # A rename changes the time, which nobody can set: what was put there by hand since then is newer (rename(2)).
        if isinstance(last.fact, events.VolumeRemoved) and path.lstat().st_ctime_ns < last.time:
            return last.fact.volume
    return None


async def discard(parts: Parts, names: Collection[str]) -> int:
    """Remove them, all or none; the bytes that this frees."""
    removal = Removal(parts, names)

    def forget(tx: Tx) -> None:
        used = _users(tx)
        for name in names:
            tx.find_volume(name)
            if name in used:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(used[name]))}]")
        removal.forget(tx)

    await removal.transact(forget)
    await parts.store.durable()
    return await removal.delete()


class Removal:
    """Volumes that are being removed: `forget` within a transaction, by `transact`, then `delete`."""

    def __init__(self, parts: Parts, names: Collection[str]) -> None:
        self._parts = parts
        self._names = names
        self._moved: dict[str, Path] = {}

    def forget(self, tx: Tx) -> None:
        """Delete those that are there and that nobody uses; what can refuse has to come before it in the transaction."""
        used = _users(tx) if self._names else {}  # which decodes every container: not for each of a hundred removals
        for name in self._names:
            if (volume := tx.volume(name)) and name not in used:
                tx.delete_volume(name)
                tx.append(events.VolumeRemoved(volume=volume))
                self._moved[name] = place = _aside(self._parts.config.root, volume)
                _move(self._parts.places.volume(name), place)
                faults.point("volume.moved")
                filling.drop(self._parts.places.volume(name))

    async def transact(self, forget: Callable[[Tx], None], *, owed: bool = True) -> None:
        """Commit it; what cannot be committed (a full disk) has its files back."""
        try:
            await self._parts.store.transact(forget, owed=owed)
        except HawseError:
            for name, place in self._moved.items():
                _move(place, self._parts.places.volume(name))
                place.parent.rmdir()
            raise

    async def delete(self) -> int:
        """Their files, and the bytes that this frees."""
        if not self._moved:
            return 0
        try:
            return await threads.run_sync(_delete, list(self._moved.values()))
        except KernelError:  # they are in the trash, which the next start empties
            return 0


def claim(tx: Tx, parts: Parts, config: ContainerConfig) -> ContainerConfig:
    """Rows for the volumes that a new container mounts; anonymous ones get their names."""
    mounts = []
    for mount in config.mounts:
        if mount.type == "volume":
            name = mount.source or _invented(parts.random)
            labels = {key: value for key, _, value in (label.partition("=") for label in mount.labels)}
            made = Volume(name=name, created_at=parts.clock(), labels=labels, anonymous=not mount.source)
            _ensure(tx, made)
            mount = replace(mount, source=name, own=not mount.source)
        mounts.append(mount)
    return replace(config, mounts=tuple(mounts))


def invented_for(asked: ContainerConfig, claimed: ContainerConfig) -> list[str]:
    """The anonymous volumes that `claim` made."""
    mounts = zip(asked.mounts, claimed.mounts, strict=True)
    return [made.source for wish, made in mounts if made.type == "volume" and not wish.source]


def make_directories(places: Places, config: ContainerConfig) -> None:
    """The directories of a container's volumes; safe to run again."""
    for mount in config.mounts:
        if mount.type == "volume":
            make_directory(places.volume(mount.source))


def make_directory(path: Path) -> None:
    path.mkdir(mode=0o755, exist_ok=True)


async def anonymous_of(store: Store, config: ContainerConfig) -> list[str]:
    """The volumes that were made for this container; one that it was given by its name, whoever made it, is not."""
    names = {m.source for m in config.mounts if m.type == "volume" and m.own}

    def read(tx: Tx) -> list[str]:
        return [v.name for v in tx.volumes() if v.anonymous and v.name in names]

    return await store.read(read) if names else []


def _ensure(tx: Tx, volume: Volume) -> Volume:
    if found := tx.volume(volume.name):
        return found
    tx.put_volume(volume)
    tx.append(events.VolumeCreated(volume=volume))
    return volume


def _users(tx: Tx) -> dict[str, list[str]]:
    """Volume → containers that mount it, running or not."""
    found: dict[str, list[str]] = {}
    for container in tx.containers():
        for name in _mounted(container):
            found.setdefault(name, []).append(container.id)
    return found


def _mounted(container: Container) -> list[str]:
    return [mount.source for mount in container.config.mounts if mount.type == "volume"]


def _invented(random: Random) -> str:
    return f"{random.getrandbits(256):064x}"


def _aside(root: Path, volume: Volume) -> Path:
    """A place in the trash that says whose it was; not to be taken for that of a later volume of the same name."""
    place = root / TRASH / f"{_stamp(volume)}-{secrets.token_hex(8)}"
    place.mkdir(mode=0o700)
    return place / volume.name


def _stamp(volume: Volume) -> str:
    return f"volume-{volume.created_at}"


def _move(path: Path, place: Path) -> None:
    try:
        os.rename(path, place)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        # It was never made: gone is success.  Names that no directory can have were taken in before they had a limit.


def _delete(places: Collection[Path]) -> int:
    freed = 0
    for place in places:
        freed += apparent_size(place)
        shutil.rmtree(place.parent, ignore_errors=True)
    return freed
