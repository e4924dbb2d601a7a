"""Manifests, as a registry gives them: their bytes kept as they are, and checked against the digests that were told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import aiohttp
import msgspec

from hawse.supervisor.core.errors import RegistryError
from hawse.supervisor.images.registry import media
from hawse.supervisor.images.registry.answers import Asked, Interrupted
from hawse.supervisor.images.registry.media import ACCEPT, MANIFEST_LIMIT, Descriptor, Index, Manifest
from hawse.supervisor.images.registry.reference import Reference, is_digest
from hawse.supervisor.images.registry.retry import Patience
from hawse.supervisor.images.registry.session import Session
from hawse.supervisor.images.registry.transport import BROKEN, beginning, pause, unreachable

_TOLD = "Docker-Content-Digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a registry has under a name or a digest: `content` to keep, to push and to take the digest of."""

    descriptor: Descriptor
    content: bytes
    parsed: Manifest | Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one platform: `descriptor` is of what the name stands for, `indexes` the way from there to `found`."""

    descriptor: Descriptor
    indexes: tuple[Found, ...]
    found: Found
    manifest: Manifest


class _Tags(msgspec.Struct):
    tags: tuple[str, ...] | None = None


def scope(path: str, actions: str = "pull") -> str:
    """Name what a token has to be for (distribution's specification of token scopes)."""
    return f"repository:{path}:{actions}"


async def head(session: Session, reference: Reference) -> Descriptor:
    """Ask what a name stands for; where the registry does not say it all, by fetching it.  Raises as Session.open."""
    async with await _open(session, "HEAD", reference) as response:
        digest, size = response.headers.get(_TOLD, ""), response.headers.get("Content-Length", "")
        kind = response.content_type
        if is_digest(digest) and size.isdigit() and kind in media.MANIFESTS + media.INDEXES:
            check_told(response, reference.digest, str(reference))
            return Descriptor(media_type=kind, digest=digest, size=int(size))
    return (await get(session, reference)).descriptor


async def get(session: Session, reference: Reference) -> Found:
    """Fetch it.  Raises as Session.open; RegistryError for what is too long, no manifest or not the one of the digest."""
    patience = Patience()
    while True:
        async with await _open(session, "GET", reference, patience) as response:
            try:
                content = await limited(response, str(reference))
                break
            except Interrupted as e:
                failure = e
        await pause(patience, failure)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if reference.digest not in ("", digest):
        raise RegistryError(
            f"manifest verification failed for digest {reference.digest}", hint=f"{session.registry} sent {digest}"
        )
    check_told(response, digest, str(reference))
    parsed = media.parse(content, response.content_type)
    kind = parsed.media_type or (media.OCI_INDEX if isinstance(parsed, Index) else media.OCI_MANIFEST)
    return Found(
        descriptor=Descriptor(media_type=kind, digest=digest, size=len(content)), content=content, parsed=parsed
    )


async def limited(response: aiohttp.ClientResponse, name: str) -> bytes:
    """Read all of a short answer.  Raises RegistryError for a long one, Interrupted for one that breaks."""
    try:
        content = await beginning(response, MANIFEST_LIMIT + 1)
    except BROKEN as e:
        raise unreachable(response.url, e) from e
    if len(content) > MANIFEST_LIMIT:
        raise RegistryError(
            f"what the registry has for {name} is longer than {MANIFEST_LIMIT >> 20} MiB", hint="no manifest is so long"
        )
    return content


def tags(content: bytes) -> list[str]:
    """Read one page of a list of tags.  Raises RegistryError."""
    try:
        return list(msgspec.json.decode(content, type=_Tags).tags or ())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RegistryError(f"the list of tags cannot be read: {e}") from e


def check_told(response: aiohttp.ClientResponse, digest: str, name: str) -> None:
    """The digest that the registry tells, if it does, is the right one ("" is any).  Raises RegistryError."""
    told = response.headers.get(_TOLD, "")
    if digest and told and told != digest:
        raise RegistryError(
            f"{name} has the digest {digest}, and the registry says {told[:80]}",
            hint="something on the way changes what it carries",
        )


async def _open(
    session: Session, method: str, reference: Reference, patience: Patience | None = None
) -> aiohttp.ClientResponse:
    asked = Asked(registry=session.registry, repository=reference.name, manifest=str(reference))
    where = f"{reference.path}/manifests/{reference.target}"
    return await session.open(
        *(method, where, asked), scope=scope(reference.path), headers={"Accept": ACCEPT}, patience=patience
    )
