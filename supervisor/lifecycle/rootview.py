"""A container's root file system as a descriptor, for cp, export and the like.

Of a running container it is the root that its processes see, mounts and all.  Of any other it is its overlay put together
for the occasion, as a detached mount that no namespace shows and that is gone with its last descriptor; the container's
lock is held meanwhile, because two overlays on one upper directory would corrupt it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from hawse.supervisor.core.errors import Conflict, Forbidden, KernelError
from hawse.supervisor.core.model import ID_RANGE, Container, ProcessIdentity, State
from hawse.supervisor.images.images import Images
from hawse.supervisor.linux import process, threads
from hawse.supervisor.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY, Filesystem
from hawse.supervisor.linux.rootcopy import Root
from hawse.supervisor.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from hawse.supervisor.linux.tree import remove_tree
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.spec import Paths

T = TypeVar("T")

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@asynccontextmanager
async def opened(parts: Parts, ref: str, *, write: bool = False) -> AsyncIterator[tuple[Container, Root]]:
    """Raises NotFound, Conflict while it starts or is removed, Forbidden for writing into a read-only root."""
    container_id = (await parts.store.read(lambda tx: tx.find(ref))).id
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(parts.live.locks.hold(container_id))
        container = await parts.store.read(lambda tx: tx.find(container_id))
        if write and container.config.read_only:
            raise Forbidden("container rootfs is marked read-only")
        if container.state.is_running and container.process is not None:
            await stack.aclose()  # its lock: a long copy must not keep it from being stopped
            fd = _live(container.process, container)
            stack.callback(os.close, fd)
            yield container, Root(fd=fd, uid_base=container.uid_base)
            return
        if container.state in (State.STARTING, State.REMOVING):
            raise Conflict(f"container {container.name} is {container.state}, its files cannot be reached now")
        paths = parts.places.of(container.id)
        layers = await lowers(parts.images, container)
        fd = await in_thread("overlay", lambda: _compose(container, paths, layers, write))
        try:
            yield container, Root(fd=fd, uid_base=container.uid_base, lower_ids=True)
        finally:
            os.close(fd)
            await in_thread("overlay", lambda: _tidy(container, paths, write))


async def lowers(images: Images, container: Container) -> list[Path]:
    """Top first."""
    config = container.config
    image = await images.find(config.image_id) if config.image_id else None
    return images.lower_dirs(image) if image else [Path(config.rootfs)]


def _live(identity: ProcessIdentity, container: Container) -> int:
    try:
        fd = os.open(f"/proc/{identity.pid}/root", _PLACE)
    except OSError:
        raise Conflict(f"container {container.name} is not running") from None
    if process.identity(identity.pid) != identity:  # it has ended, and who knows whose root that is
        os.close(fd)
        raise Conflict(f"container {container.name} is not running")
    return fd


def _compose(container: Container, paths: Paths, lowers: list[Path], write: bool) -> int:
    """A detached mount of the overlay.  Its work directory is its own: the container's belongs to its mapped root."""
    if not paths.upper.exists():
        paths.upper.mkdir(mode=0o755)
        paths.upper.chmod(stat.S_IMODE(lowers[0].stat().st_mode))
        if container.uid_base is not None:
            os.chown(paths.upper, container.uid_base, container.uid_base)
    work = _work(paths)
    work.mkdir(mode=0o700, exist_ok=True)
    layers = [os.open(layer, _PLACE) for layer in lowers]
    try:
        with Filesystem("overlay") as overlay:
            overlay.set("source", "overlay")
            # by descriptor: a path may hold the very characters that separate paths
            overlay.set("lowerdir", ":".join(f"/proc/self/fd/{fd}" for fd in layers))
            overlay.set("upperdir", str(paths.upper))
            overlay.set("workdir", str(work))
            if container.uid_base is not None:
                overlay.set("userxattr")
            return overlay.mount(MOUNT_ATTR_NODEV | (0 if write else MOUNT_ATTR_RDONLY))
    finally:
        for fd in layers:
            os.close(fd)


def _tidy(container: Container, paths: Paths, write: bool) -> None:
    remove_tree(_work(paths))
    if write and container.uid_base is not None:
        _own(paths.upper, container.uid_base)


def _work(paths: Paths) -> Path:
    return paths.state / "view-work"


def _own(upper: Path, base: int) -> None:
    """Directories copied up from a layer have the layer's ids, which the container's id map shifts: so they are shifted."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    top = os.open(upper, flags)
    waiting = ["."]
    try:
        while waiting:
            path = waiting.pop()
            here = openat2(top, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            try:
                for name in os.listdir(here):
                    found = os.stat(name, dir_fd=here, follow_symlinks=False)
                    if found.st_uid < ID_RANGE <= base or found.st_gid < ID_RANGE <= base:
                        owner = [base + i if i < ID_RANGE else -1 for i in (found.st_uid, found.st_gid)]
                        os.chown(name, *owner, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(f"{path}/{name}")
            finally:
                os.close(here)
    finally:
        os.close(top)


async def in_thread(op: str, work: Callable[[], T]) -> T:
    """Raises KernelError instead of OSError; that the client is gone stays what it is."""
    try:
        return await threads.run_sync(work)
    except ConnectionError:
        raise
    except OSError as e:
        raise KernelError(op, e.errno or 0, str(e.filename or e.strerror or "")) from e
