"""A registry of images, as the verbs see it: manifests, blobs, tags, pushes, login.

    async with Client("docker.io", access, credentials) as registry:
        image = await registry.resolve(reference, platform)
        async for piece in registry.blob(reference, image.manifest.layers[0], Progress()):

Reads go to the mirrors first; whatever is wrong with one, the next is asked, and a blob goes on there where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from yarl import URL

from hawse.supervisor.core.errors import HawseError, RegistryError, UserError
from hawse.supervisor.images.registry import download, manifests
from hawse.supervisor.images.registry.answers import Asked
from hawse.supervisor.images.registry.credentials import NOBODY, Credentials
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.images.registry.endpoints import Access, endpoints
from hawse.supervisor.images.registry.manifests import Found, Image
from hawse.supervisor.images.registry.media import Descriptor, Index
from hawse.supervisor.images.registry.platforms import Platform, choose
from hawse.supervisor.images.registry.reference import Reference
from hawse.supervisor.images.registry.session import Session
from hawse.supervisor.images.registry.transport import SILENCE, Transport
from hawse.supervisor.images.registry.upload import Outcome, Upload

MOST_NESTED = 4
"""Indexes in indexes; image-spec allows them and nobody makes more than two."""
TAGS_PER_PAGE = 1000
MOST_TAGS = 100_000
T = TypeVar("T")


class Client:
    """One registry, as somebody; an async context manager.  All of it raises what Session.open does."""

    def __init__(
        self, domain: str, access: Access, credentials: Credentials = NOBODY, *, silence: float = SILENCE
    ) -> None:
        self.domain = domain
        self._transport = Transport(access, silence=silence)
        self._readers = [
            Session(self._transport, endpoint, NOBODY if endpoint.is_mirror else credentials)
            for endpoint in endpoints(domain, access)
        ]
        self._own = self._readers[-1]

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, where)

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def describe(self, reference: Reference) -> Descriptor:
        """Return what a name stands for now, without fetching it."""
        return await self._read(lambda session: manifests.head(session, reference))

    async def manifest(self, reference: Reference) -> Found:
        """Return the manifest or the index that a name stands for, its bytes as they are."""
        return await self._read(lambda session: manifests.get(session, reference))

    async def resolve(self, reference: Reference, platform: Platform) -> Image:
        """Return the image of a name for a platform, before any byte of it is fetched.

        Raises NotFound when there is none for the platform; RegistryError for what is no image.
        """
        found = await self.manifest(reference)
        top = found.descriptor
        indexes: list[Found] = []
        while isinstance(found.parsed, Index):
            indexes.append(found)
            if len(indexes) > MOST_NESTED:
                raise RegistryError(
                    f"{reference} is an index of indexes, more than {MOST_NESTED} deep", hint="ask its owner to mend it"
                )
            chosen = choose(found.parsed.manifests, platform)
            found = await self.manifest(Reference(reference.name, "", chosen.digest))
            if found.descriptor.size != chosen.size:
                raise RegistryError(
                    f"manifest {chosen.digest} has {found.descriptor.size} bytes, and {chosen.size} in its index"
                )
        return Image(descriptor=top, indexes=tuple(indexes), found=found, manifest=found.parsed)

    async def blob(self, reference: Reference, wanted: Descriptor, progress: Progress) -> AsyncGenerator[bytes]:
        """Yield what `progress` lacks of a layer or a configuration, and raise if all of it is not what was wanted."""
        for session in self._readers:
            asked = Asked(registry=session.registry, repository=reference.name, blob=wanted.digest)
            pieces = download.blob(
                session, reference.path, asked, wanted, progress, scope=manifests.scope(reference.path)
            )
            try:
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield piece
                return
            except HawseError:
                if session is self._own or progress.offset >= wanted.size:
                    raise

    async def tags(self, reference: Reference) -> list[str]:
        """Return all tags of a repository, which registries give in pages."""
        asked = Asked(registry=self.domain, repository=reference.name)
        found: list[str] = []
        where: str | URL = f"{reference.path}/tags/list?n={TAGS_PER_PAGE}"
        while where:
            scope = manifests.scope(reference.path)
            async with await self._own.open("GET", where, asked, scope=scope) as response:
                page = manifests.tags(await manifests.limited(response, str(reference)))
                found += page
                following = response.links.get("next") if page else None
                where = self._own.url(str(following["url"])) if following else ""
            if len(found) > MOST_TAGS:
                raise RegistryError(f"{reference.name} has more than {MOST_TAGS} tags")
        return found

    async def _read(self, what: Callable[[Session], Awaitable[T]]) -> T:
        for session in self._readers[:-1]:
            try:
                return await what(session)
            except HawseError:
                continue  # a mirror need not have it, nor be right
        return await what(self._own)

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def push_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        file: Path,
        *,
        mount_from: str = "",
        sent: Callable[[int], None] = lambda _: None,
    ) -> Outcome:
        """See that the repository has a blob; `mount_from` is another one of this registry that probably has it."""
        asked = Asked(registry=self.domain, repository=reference.name, pushing=True)
        others = [manifests.scope(mount_from)] if mount_from else []
        scope = " ".join([manifests.scope(reference.path, "pull,push"), *others])
        upload = Upload(
            session=self._own, path=reference.path, asked=asked, scope=scope, blob=blob, file=file, sent=sent
        )
        return await upload.run(mount_from)

    async def push_manifest(self, reference: Reference, content: bytes, media_type: str) -> str:
        """Give it its name, when all blobs are there; returns its digest."""
        asked = Asked(registry=self.domain, repository=reference.name, manifest=str(reference), pushing=True)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if reference.digest not in ("", digest):
            raise UserError(f"{reference} cannot be pushed: the digest of the manifest is {digest}")
        response = await self._own.open(
            *("PUT", f"{reference.path}/manifests/{reference.tag or digest}", asked),
            scope=manifests.scope(reference.path, "pull,push"),
            expected=(201, 202),
            headers={"Content-Type": media_type},
            body=lambda: content,
        )
        response.close()
        manifests.check_told(response, digest, str(reference))
        return digest

    # ---- who we are --------------------------------------------------------------------------------------------------

    async def login(self) -> str:
        """See that the registry knows the credentials; returns a token to keep instead of the password, or "".

        Raises Unauthorized when it does not.
        """
        base = await self._own.base()
        identity = await self._own.tokens.identity()
        (await self._own.open("GET", base, Asked(registry=self.domain))).close()
        return identity
