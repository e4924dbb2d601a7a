"""A volume that is new and empty gets the files that the image has at its place, as with docker: owners, modes and all.

    ROOT/volumes/.filling/.new-*      the copy being made
    ROOT/volumes/.filling/<volume>    the whole copy: what it holds is being moved into the volume

The copy is on the disk before it counts as whole.  So a volume never holds half a file, and whoever finds a whole copy, the
same daemon or the next, moves the rest.  A container whose volumes have been seen to has a mark in its directory: a start
after that leaves them alone, even empty ones.  Volumes and layers have the same 0-based owners, so nothing is mapped.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hawse.supervisor import faults
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Container, MountSpec
from hawse.supervisor.images.commit_layer import copy_tree
from hawse.supervisor.lifecycle.rootview import in_thread, lowers
from hawse.supervisor.linux import rooted
from hawse.supervisor.linux.flush import flush_tree
from hawse.supervisor.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY, Filesystem
from hawse.supervisor.linux.syscalls import rename_noreplace
from hawse.supervisor.linux.tree import remove_tree
from hawse.supervisor.parts import Parts

PLACE = ".filling"  # no volume can have this name
_UNFINISHED = ".new-"


async def fill(parts: Parts, container: Container) -> None:
    """Once in a container's life.  Raises UserError for a volume over a file, KernelError when the disk is full."""
    wanted = [m for m in container.config.mounts if m.type == "volume" and not m.nocopy]
    seen_to = parts.places.of(container.id).state / "volumes-filled"
    if not wanted or seen_to.exists():
        return
    layers = await lowers(parts.images, container)
    for mount in wanted:
        async with parts.live.locks.hold(f"volume/{mount.source}"):
            await in_thread("fill", lambda m=mount: _fill(parts.places.volume(m.source), layers, m))  # type: ignore[misc]
    faults.point("create.volumes-filled")
    try:
        seen_to.touch()
    except FileNotFoundError:
        pass  # removed while its files were copied


def finish(volumes: Path) -> None:
    """Finish what an earlier daemon was in the middle of.  Before anybody else uses the volumes."""
    place = volumes / PLACE
    place.mkdir(mode=0o700, exist_ok=True)
    for copy in place.iterdir():
        if not copy.name.startswith(_UNFINISHED) and (volumes / copy.name).is_dir():
            _move_in(copy, volumes / copy.name)
        remove_tree(copy)


def drop(volume: Path) -> None:
    """It is being removed; for a name that no directory can have there is nothing (`os.path` says so, pathlib raises)."""
    if os.path.lexists(place := volume.parent / PLACE / volume.name):
        remove_tree(place)


def _fill(volume: Path, layers: list[Path], mount: MountSpec) -> None:
    place = volume.parent / PLACE
    unfinished, whole = place / f"{_UNFINISHED}{secrets.token_hex(8)}", place / volume.name
    if not whole.is_dir() and not _is_empty(volume):
        return
    source = _open(layers, mount.target)
    if source is None:
        return
    try:
        if not whole.is_dir():  # else an earlier try was stopped half way
            unfinished.mkdir(mode=0o700)
            copy_tree(source, unfinished, None)
            faults.point("create.volume-copied")
            flush_tree(unfinished)
            os.rename(unfinished, whole)
        faults.point("create.volume-whole")
        _move_in(whole, volume)
        remove_tree(whole)
    finally:
        os.close(source)
        remove_tree(unfinished)


def _is_empty(volume: Path) -> bool:
    with os.scandir(volume) as entries:
        return next(entries, None) is None


def _move_in(copy: Path, volume: Path) -> None:
    """Others may mount the volume already: it is filled where it is, and what they have put there stays."""
    for name in os.listdir(copy):
        try:
            rename_noreplace(copy / name, volume / name)
        except FileExistsError:
            continue
        faults.point("create.volume-half-filled")
    status = copy.stat()
    os.chown(volume, status.st_uid, status.st_gid)
    volume.chmod(status.st_mode & 0o7777)
    os.utime(volume, ns=(status.st_atime_ns, status.st_mtime_ns))


def _open(layers: list[Path], target: str) -> int | None:
    """The directory that the image has there; None when it has nothing."""
    fds = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in layers]
    try:
        root = _merged(fds) if len(fds) > 1 else os.dup(fds[0])
        try:
            return rooted.open_path(root, target, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise UserError(f"cannot mount volume over existing file, file exists {target}") from None
        finally:
            os.close(root)
    finally:
        for fd in fds:
            os.close(fd)


def _merged(layers: list[int]) -> int:
    """A detached overlay of the layers, which must be two at least.  It is gone with its last descriptor."""
    with Filesystem("overlay") as overlay:
        overlay.set("source", "overlay")
        overlay.set("lowerdir", ":".join(f"/proc/self/fd/{fd}" for fd in layers))
        overlay.set("userxattr")  # layers carry the marks of both kinds (images/whiteouts.py)
        return overlay.mount(MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY)
