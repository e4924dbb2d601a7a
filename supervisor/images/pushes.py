"""Pushes: an image goes to a registry as another registry had it, byte for byte, so that its digest stays what it was."""

from __future__ import annotations

import anyio

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Image
from hawse.supervisor.core.steps import Report, Step
from hawse.supervisor.images import naming
from hawse.supervisor.images.blobs import Blobs
from hawse.supervisor.images.registry import media
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.media import Descriptor, Manifest
from hawse.supervisor.images.registry.reference import Reference, parse
from hawse.supervisor.images.registry.upload import Outcome

MOST_AT_ONCE = 5
"""Uploads of one push, as docker has it."""


class Pushes:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def check(self, image: Image, reference: Reference) -> Manifest:
        """Return what is to be pushed.  Raises UserError for an image of which not all is kept as a registry has it."""
        if not image.manifest:
            raise UserError(
                f"{reference} was made here, and hawse cannot push such images yet",
                hint="export it, and let another tool make an image of it",
            )
        manifest = media.parse(self._blobs.path(image.manifest).read_bytes())
        assert isinstance(manifest, Manifest), "an image's is no index"
        for blob in manifest.layers:
            if not self._blobs.has(blob.digest):
                raise UserError(
                    f"layer {blob.digest} of {reference} is not kept as its registry has it: it was here before the pull",
                    hint=f"remove the other images that have it, and pull {naming.short(image)} again",
                )
        return manifest

    async def push(self, registry: Client, image: Image, reference: Reference, report: Report) -> Descriptor:
        """Return what the name stands for now.  Raises what the registry's client does; UserError as `check`."""
        manifest = self.check(image, reference)
        for layer in image.layers:
            report(Step(status="Preparing", id=layer[:12]))
        limiter = anyio.CapacityLimiter(MOST_AT_ONCE)
        origins = [parse(digest) for digest in image.digests]
        nearby = [
            origin.path for origin in origins if origin.domain == reference.domain and origin.path != reference.path
        ]

        async def send(blob: Descriptor, shown: str) -> None:
            async with limiter:
                await self._send(registry, reference, blob, nearby[0] if nearby else "", shown, report)

        async with anyio.create_task_group() as group:
            for layer, blob in {
                blob.digest: (layer, blob) for layer, blob in zip(image.layers, manifest.layers, strict=True)
            }.values():
                group.start_soon(send, blob, layer[:12])
        await self._send(registry, reference, manifest.config, "", "", report)
        content = self._blobs.path(image.manifest).read_bytes()
        kind = manifest.media_type or media.OCI_MANIFEST
        digest = await registry.push_manifest(reference, content, kind)
        return Descriptor(media_type=kind, digest=digest, size=len(content))

    async def _send(
        self, registry: Client, reference: Reference, blob: Descriptor, nearby: str, shown: str, report: Report
    ) -> None:
        def sent(count: int) -> None:
            if shown:
                report(Step(status="Pushing", id=shown, current=count, total=blob.size))

        file = self._blobs.path(blob.digest)
        outcome = await registry.push_blob(reference, blob, file, mount_from=nearby, sent=sent)
        if shown:
            said = f"{outcome} {nearby}" if outcome is Outcome.MOUNTED else str(outcome)
            report(Step(status=said, id=shown))
