"""Pulls: an image of a registry becomes one of ours.

Layers come side by side, and each is unpacked as soon as it is whole.  The image is there when all of them are: directories are
renamed into place before the row that names them, as for every image.  What was fetched is kept, also of a pull that fails or
is given up: the next goes on where it ended.  Of two pulls of one image the second waits, and of two that share a blob as well.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio

from hawse.supervisor import faults
from hawse.supervisor.core.errors import KernelError, NotFound, RegistryError
from hawse.supervisor.core.model import Image, ImageId
from hawse.supervisor.core.steps import Report, Step
from hawse.supervisor.images import archive, extract, naming, ociconfig
from hawse.supervisor.images.blobs import Blobs, Partial
from hawse.supervisor.images.blocking import in_thread, remove
from hawse.supervisor.images.layers import Layers
from hawse.supervisor.images.ociconfig import Configuration
from hawse.supervisor.images.registry import manifests, platforms
from hawse.supervisor.images.registry.answers import Interrupted
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.images.registry.media import Descriptor, check_image
from hawse.supervisor.images.registry.platforms import Platform
from hawse.supervisor.images.registry.reference import Reference
from hawse.supervisor.linux import diskusage
from hawse.supervisor.locks import KeyedLocks
from hawse.supervisor.store.store import Store

MOST_AT_ONCE = 3
"""Downloads of one pull, as docker has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An image of a registry, as far as must be known before any layer is fetched."""

    registry: Client
    reference: Reference
    found: manifests.Image
    configuration: Configuration
    content: bytes  # of the configuration

    @property
    def id(self) -> ImageId:
        return ImageId(self.found.manifest.config.digest)

    @property
    def layers(self) -> dict[str, Descriptor]:
        """By diff id, each once: the same layer may stand at several places."""
        return dict(zip(self.configuration.diff_ids, self.found.manifest.layers, strict=True))


async def want(registry: Client, reference: Reference, platform: Platform) -> Wanted:
    """Look what a name stands for in its registry.

    Raises NotFound, also for an image of another platform; UserError, RegistryError for what is no image that we could run.
    """
    found = await registry.resolve(reference, platform)
    check_image(found.manifest)
    config = found.manifest.config
    if config.size > ociconfig.LARGEST:
        raise RegistryError(f"the configuration of {reference} has {config.size} bytes; {ociconfig.LARGEST} are taken")
    content = b"".join([piece async for piece in registry.blob(reference, config, Progress())])
    read = ociconfig.parse(content)
    if len(read.diff_ids) != len(found.manifest.layers):
        raise RegistryError(
            f"{reference} has {len(found.manifest.layers)} layers, and its configuration knows {len(read.diff_ids)}"
        )
    if read.platform.architecture and not platforms.runs(read.platform, platform):
        raise NotFound(
            f"image with reference {reference} was found but does not match the specified platform: "
            f"wanted {platform}, actual: {read.platform}"
        )
    return Wanted(registry=registry, reference=reference, found=found, configuration=read, content=content)


class Pulls:
    """`publishing` is held while it is decided which layers are used."""

    def __init__(self, layers: Layers, blobs: Blobs, store: Store, publishing: anyio.Lock) -> None:
        self._layers, self._blobs, self._store, self._publishing = layers, blobs, store, publishing
        self._locks = KeyedLocks()
        self._downloads = anyio.CapacityLimiter(MOST_AT_ONCE)
        self._unpacking = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def pull(self, wanted: Wanted, report: Report) -> tuple[Image, bool]:
        """Return the image, and whether anything of it was new.

        Raises what the registry's client does; RegistryError for a layer that is not what it should be; KernelError.
        """
        async with self._locks.hold(wanted.id):
            had = await self._store.read(lambda tx: tx.image(wanted.id))
            made: dict[str, tuple[Path, int]] = {}
            try:
                while True:
                    await self._make_missing(wanted, made, report)
                    async with self._publishing:
                        if not self._missing(wanted, made):
                            image = await self._publish(wanted, made)
                            return image, had is None
            finally:
                with anyio.CancelScope(shield=True):
                    for directory, _ in made.values():
                        await remove(self._layers, directory)

    def _missing(self, wanted: Wanted, made: dict[str, tuple[Path, int]]) -> list[str]:
        return [layer for layer in wanted.layers if layer not in made and not self._layers.path(layer).is_dir()]

    async def _make_missing(self, wanted: Wanted, made: dict[str, tuple[Path, int]], report: Report) -> None:
        missing = self._missing(wanted, made)
        for layer, blob in wanted.layers.items():
            report(Step(status="Pulling fs layer" if layer in missing else "Already exists", id=_short(blob)))
        self._check_room([wanted.layers[layer] for layer in missing])
        async with anyio.create_task_group() as group:
            for layer in missing:
                group.start_soon(self._make, wanted, layer, made, report)
        if missing:
            directory, _ = made[missing[0]]
            await in_thread("syncfs", lambda: self._layers.flush(directory))

    def _check_room(self, blobs: list[Descriptor]) -> None:
        """Raises KernelError: what is known not to fit is not begun."""
        needed = sum(blob.size for blob in blobs if not self._blobs.has(blob.digest))
        free = os.statvfs(self._layers.directory)
        if needed > free.f_bavail * free.f_frsize:
            raise KernelError(
                "pull", errno.ENOSPC, f"{self._layers.directory} has no room for {needed} bytes of layers"
            )

    async def _make(self, wanted: Wanted, layer: str, made: dict[str, tuple[Path, int]], report: Report) -> None:
        blob = wanted.layers[layer]
        async with self._locks.hold(blob.digest), self._downloads:
            if not self._blobs.has(blob.digest):
                await self._fetch(wanted, blob, report)
        report(Step(status="Download complete", id=_short(blob)))
        async with self._unpacking:
            report(Step(status="Extracting", id=_short(blob), current=0, total=blob.size))
            directory = self._layers.begin()
            made[layer] = (directory, 0)  # to be removed, whatever comes
            digest, size = await in_thread("unpack", lambda: _unpack(self._blobs.path(blob.digest), directory))
            if digest != layer:
                del made[layer]
                await remove(self._layers, directory)
                self._blobs.discard(blob.digest)
                raise RegistryError(
                    f"layer {blob.digest} of {wanted.reference} is not what its image says",
                    hint=f"unpacked it has the diff id sha256:{digest}, not sha256:{layer}",
                )
            made[layer] = (directory, size)
            faults.point("pull.layer-made")
        report(Step(status="Extracting", id=_short(blob), current=blob.size, total=blob.size))
        report(Step(status="Pull complete", id=_short(blob)))

    async def _fetch(self, wanted: Wanted, blob: Descriptor, report: Report) -> None:
        partial = self._blobs.begin(blob.digest, blob.size)
        await in_thread("open", partial.__enter__)
        with ExitStack() as stack:
            stack.push(partial)
            try:
                await self._download(wanted, blob, partial, report)
            except Interrupted:
                raise
            except RegistryError:  # other bytes than those that were promised: none of them is of use
                self._blobs.discard(blob.digest)
                raise
            except OSError as e:
                self._blobs.discard(blob.digest)  # a disk that is full gets its room back
                raise KernelError.of("pull", e) from e
            report(Step(status="Verifying Checksum", id=_short(blob)))
            faults.point("pull.blob-whole")
            await in_thread("rename", partial.publish)
            faults.point("pull.blob-published")

    async def _download(self, wanted: Wanted, blob: Descriptor, partial: Partial, report: Report) -> None:
        async for piece in wanted.registry.blob(wanted.reference, blob, partial.progress):
            partial.write(piece)
            report(Step(status="Downloading", id=_short(blob), current=partial.progress.offset, total=blob.size))

    async def _publish(self, wanted: Wanted, made: dict[str, tuple[Path, int]]) -> Image:
        """Give every layer its name, then write the row that needs them.  With `publishing` held."""
        for blob, content in (
            (wanted.found.manifest.config, wanted.content),
            *((one.descriptor, one.content) for one in (wanted.found.found, *wanted.found.indexes)),
        ):
            self._blobs.put(blob.digest, content)
        sizes = await self._sizes(wanted, made)
        for layer, (directory, _) in made.items():
            self._layers.publish(directory, layer)
        await in_thread("fsync", self._flush_names)
        faults.point("pull.layers-published")
        image, name = _image(wanted, sizes), str(wanted.reference) if wanted.reference.tag else ""
        try:
            return await self._store.transact(lambda tx: naming.put_pulled(tx, image, name))
        except BaseException:
            with anyio.CancelScope(shield=True):
                for layer in made:
                    if not await self._store.read(lambda tx, layer=layer: tx.layer_users(layer)):  # type: ignore[misc]
                        await remove(self._layers, self._layers.path(layer))
            raise

    def _flush_names(self) -> None:
        self._blobs.flush_names()
        self._layers.flush_names()

    async def _sizes(self, wanted: Wanted, made: dict[str, tuple[Path, int]]) -> dict[str, int]:
        """Return that of each layer; of one that was here, as another image knows it, or counted."""
        known: dict[str, int] = {}
        for image in await self._store.read(lambda tx: tx.images()):
            known |= zip(image.layers, image.layer_sizes, strict=False)
        sizes = {}
        for layer in wanted.layers:
            if layer in made:
                sizes[layer] = made[layer][1]
            elif layer in known:
                sizes[layer] = known[layer]
            else:
                place = self._layers.path(layer)
                sizes[layer] = await in_thread("stat", lambda place=place: diskusage.apparent_size(place))  # type: ignore[misc]
        return sizes


def _image(wanted: Wanted, sizes: dict[str, int]) -> Image:
    read, manifest = wanted.configuration, wanted.found.manifest
    layer_sizes = tuple(sizes[layer] for layer in read.diff_ids)
    return Image(
        id=wanted.id,
        created_at=read.created_at,
        layers=read.diff_ids,
        size=sum(layer_sizes),
        config=read.settings,
        architecture=read.platform.architecture,
        os=read.platform.os,
        variant=read.platform.variant,
        history=read.history,
        author=read.author,
        layer_sizes=layer_sizes,
        manifest=wanted.found.found.descriptor.digest,
        digests=(f"{wanted.reference.name}@{wanted.found.descriptor.digest}",),
        blobs=tuple(layer.digest for layer in manifest.layers),
    )


def _unpack(blob: Path, directory: Path) -> tuple[str, int]:
    """(diff id in hex, bytes of files).  Blocking.  Raises UserError for what is no archive, OSError."""
    with open(blob, "rb") as source, archive.opened(source) as (tar, plain):
        size = extract.extract(tar, directory)
        return plain.finish(), size


def _short(blob: Descriptor) -> str:
    return blob.digest.removeprefix("sha256:")[:12]
