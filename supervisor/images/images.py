"""Images: made from archives and containers, named, found, removed; and the directories of containers beside them.

A layer's directory is renamed into place before the row that names it, and renamed away after the row that named it is
gone: a crash leaves directories without a row, which `open` sweeps, and never a row without its directory.  For power cuts each
step waits for the one before to be on the disk: else an image could come back with files that are empty, or without a layer.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Self, TypeVar

import anyio
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Container, Image, ImageConfig, ImageId, encode
from hawse.supervisor.images import archive, commit_layer, extract, naming
from hawse.supervisor.images.blobs import Blobs
from hawse.supervisor.images.blocking import in_thread, remove
from hawse.supervisor.images.configure import image_config
from hawse.supervisor.images.instructions import apply
from hawse.supervisor.images.layers import Layers
from hawse.supervisor.images.naming import Removal
from hawse.supervisor.images.pulls import Pulls
from hawse.supervisor.images.pushes import Pushes
from hawse.supervisor.images.registry import platforms, reference
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.tree import remove_tree
from hawse.supervisor.runtime.spec import Paths
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

MAX_LAYERS = 125  # docker's; overlayfs takes 500, but not in one page of mount options on older kernels
T = TypeVar("T")


class Images:
    def __init__(self, root: Path, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self._layers = Layers(root)
        self._store = store
        self._clock = clock
        # What decides that a layer is not used any more, and what begins to use one that is there, exclude each other.
        self._publishing = anyio.Lock()
        self._blobs = Blobs(root)
        self.pulls = Pulls(self._layers, self._blobs, store, self._publishing)
        self.pushes = Pushes(self._blobs)

    @classmethod
    async def open(cls, root: Path, store: Store, clock: Callable[[], int] = time.time_ns) -> Self:
        """Make the directories, and remove what an earlier daemon left half-done.  Nobody else may use them yet."""
        images = cls(root, store, clock)
        images._layers.make()
        images._blobs.make()
        used = await store.read(lambda tx: tx.layers_in_use())
        await threads.run_sync(images._layers.sweep, used)
        kept = await store.read(lambda tx: {blob for image in tx.images() for blob in naming.blobs(image)})
        await threads.run_sync(images._blobs.sweep, kept, clock() / 10**9)
        return images

    # ---- finding -------------------------------------------------------------------------------------------------

    async def resolve(self, ref: str) -> Image:
        """By name, id or unique id prefix.  Raises NotFound in Docker's words, with near names as a hint."""
        return await self._store.read(lambda tx: naming.find(tx, ref))

    async def find(self, image_id: ImageId) -> Image | None:
        return await self._store.read(lambda tx: tx.image(image_id))

    def lower_dirs(self, image: Image) -> list[Path]:
        """For the overlay: top first."""
        return [self._layers.path(layer) for layer in reversed(image.layers)]

    # ---- making --------------------------------------------------------------------------------------------------

    async def import_(
        self, source: BufferedReader, *, tag: str = "", changes: Sequence[str] = (), message: str = ""
    ) -> Image:
        """A tar (also with gzip, bzip2, xz, zstd) of a root file system becomes an image.  `source` is read in a thread.

        Raises UserError for a bad name, change or archive, KernelError when the disk does not take it.
        """
        name = _name(tag)
        config = apply(ImageConfig(), changes)

        def unpack(directory: Path) -> tuple[str, int]:
            with archive.opened(source) as (tar, plain):
                size = extract.extract(tar, directory)
                return plain.finish(), size

        async def publish(directory: Path) -> Image:
            layer, size = await in_thread("import", lambda: unpack(directory))
            faults.point("image.layer-made")
            line = message or "Imported from a tar file"
            image = self._image((layer,), size=size, config=config, history=(line,), comment=message)
            return await self._publish(directory, layer, image, name)

        return await self._with_directory(publish)

    async def commit(
        self,
        container: Container,
        paths: Paths,
        *,
        tag: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
    ) -> Image:
        """Make what a container changed a layer on top of its image's; the caller has frozen it if it runs.

        Raises UserError when it has no image to stand on, a bad name or change; KernelError.
        """
        name = _name(tag)
        base = await self.find(container.config.image_id) if container.config.image_id else None
        if base is None:
            raise UserError(
                f"container {container.name} has no image to commit onto: it runs on the directory {container.config.rootfs}",
                hint="export it and import the archive instead",
            )
        if len(base.layers) >= MAX_LAYERS:
            raise UserError(
                f"max depth exceeded: {base.tags[0] if base.tags else naming.short(base)} has {len(base.layers)} layers",
                hint="export a container of it and import the archive: that makes one layer",
            )
        config = apply(image_config(container.config, base), changes)
        line = message or " ".join(container.config.argv)

        async def publish(directory: Path) -> Image:
            size = await in_thread(
                "commit", lambda: commit_layer.copy_upper(paths.upper, directory, container.uid_base)
            )
            faults.point("image.layer-made")
            layer = secrets.token_hex(32)
            image = self._image(
                (*base.layers, layer),
                size=base.size + size,
                config=config,
                history=(*base.history, line),
                parent=base.id,
                author=author,
                comment=message,
            )
            return await self._publish(directory, layer, image, name, container)

        return await self._with_directory(publish)

    def _image(
        self,
        layers: tuple[str, ...],
        *,
        size: int,
        config: ImageConfig,
        history: tuple[str, ...],
        parent: str = "",
        author: str = "",
        comment: str = "",
    ) -> Image:
        """Make the record: as with Docker, an image's id is the hash of all that it says about itself."""
        fresh = Image(
            id=ImageId(""),
            created_at=self._clock(),
            layers=layers,
            size=size,
            config=config,
            architecture=platforms.of_machine(platform.machine()).architecture,
            history=history,
            parent=parent,
            author=author,
            comment=comment,
        )
        return replace(fresh, id=ImageId(f"sha256:{hashlib.sha256(encode(fresh)).hexdigest()}"))

    async def _with_directory(self, make: Callable[[Path], Awaitable[Image]]) -> Image:
        """`make` renames the directory away when all goes well; what is left of it otherwise is removed."""
        directory = self._layers.begin()
        try:
            return await make(directory)
        finally:
            with anyio.CancelScope(shield=True):
                await remove(self._layers, directory)

    async def _publish(
        self, directory: Path, layer: str, image: Image, name: str, container: Container | None = None
    ) -> Image:
        await in_thread("syncfs", lambda: self._layers.flush(directory))  # before the lock: it may take seconds
        async with self._publishing:
            self._layers.publish(directory, layer)
            await in_thread("fsync", self._layers.flush_names)
            faults.point("image.layer-published")
            try:
                return await self._store.transact(lambda tx: _put(tx, image, name, container))
            except BaseException:
                with anyio.CancelScope(shield=True):
                    if not await self._store.read(lambda tx: tx.layer_users(layer)):
                        await remove(self._layers, self._layers.path(layer))
                raise

    # ---- naming and removing ---------------------------------------------------------------------------------------

    async def tag(self, ref: str, tag: str) -> Image:
        """Raises NotFound, UserError."""
        name = str(reference.parse_new_name(tag))
        return await self._store.transact(lambda tx: naming.add_tag(tx, ref, name))

    async def remove(self, ref: str, *, force: bool = False) -> Removal:
        """Take a name away; with the last one, or by its id, the image and the layers that only it had.

        Raises NotFound; Conflict when a container stands on it.
        """
        async with self._publishing:
            removal = await self._store.transact(lambda tx: naming.remove(tx, ref, force=force))
            await self._store.durable()
            faults.point("image.row-gone")
            rubbish = [self._layers.discard(self._layers.path(layer)) for layer in removal.layers]
            for blob in removal.blobs:
                self._blobs.discard(blob)
        faults.point("image.layers-gone")
        for path in rubbish:
            if path is not None:
                await in_thread("rm", lambda path=path: remove_tree(path))  # type: ignore[misc]
        return removal

    # ---- containers' directories -----------------------------------------------------------------------------------

    def prepare(self, paths: Paths, uid_base: int | None) -> None:
        """Make what a container's overlay needs, owned by its root; safe to run again.

        Not the upper directory: the shim makes it, in the likeness of the layer below.
        """
        for directory in (paths.work, paths.target):
            directory.mkdir(mode=0o700, exist_ok=True)
        if uid_base is not None:
            os.chown(paths.work, uid_base, uid_base)

    async def discard(self, paths: Paths) -> None:
        """All files of a container.  Its directory goes in one step, what was in it right after; gone is success."""
        await remove(self._layers, paths.state)
        await in_thread("rm", lambda: remove_tree(paths.run))


def _put(tx: Tx, image: Image, name: str, container: Container | None) -> Image:
    image = naming.put(tx, image, name)
    if container is not None:
        tx.append(events.ContainerCommitted(container=container, image_id=image.id))
    return image


def _name(tag: str) -> str:
    return str(reference.parse_new_name(tag)) if tag else ""
