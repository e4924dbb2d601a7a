"""A blob as it comes, from where an earlier try ended, resumed after every cut for as long as each brings something."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from hawse.supervisor.core.errors import RegistryError
from hawse.supervisor.images.registry.answers import Asked, Interrupted
from hawse.supervisor.images.registry.media import Descriptor
from hawse.supervisor.images.registry.retry import PATIENT, Patience
from hawse.supervisor.images.registry.session import Session
from hawse.supervisor.images.registry.transport import BROKEN, CHUNK, pause, unreachable

if TYPE_CHECKING:
    from hashlib import _Hash

MOST_IGNORED = 3
"""Answers from the beginning where the rest was asked for, none of which came as far as we are: so it goes on for ever."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a blob is: `digest` is of all bytes up to `offset`, those that were kept from an earlier pull included."""

    offset: int = 0
    digest: _Hash = field(default_factory=hashlib.sha256)


async def blob(
    session: Session, path: str, asked: Asked, wanted: Descriptor, progress: Progress, *, scope: str
) -> AsyncGenerator[bytes]:
    """Yield the bytes that are missing, as many as the descriptor says and with its digest, or raise.

    `progress` goes along, so another session can go on where this one fails.  Raises as Session.open; Interrupted when
    nothing more comes; RegistryError for other bytes, and then none of them is of use.
    """
    patience = Patience(PATIENT)
    ignored = 0
    while progress.offset < wanted.size:
        headers = {"Range": f"bytes={progress.offset}-"} if progress.offset else {}
        failure = Interrupted(f"{wanted.digest} ended at {progress.offset} of {wanted.size} bytes")
        ways = {"scope": scope, "expected": (200, 206), "headers": headers, "patience": patience}
        begun = progress.offset
        async with await session.open("GET", f"{path}/blobs/{wanted.digest}", asked, **ways) as response:  # type: ignore[arg-type]
            skipped = _skipped(response, begun, wanted)
            is_rest = not skipped
            try:
                async for chunk in response.content.iter_chunked(CHUNK):
                    fresh = chunk[skipped:] if skipped else chunk
                    skipped = max(0, skipped - len(chunk))
                    if not fresh:
                        continue
                    progress.offset += len(fresh)
                    if progress.offset > wanted.size:
                        raise RegistryError(f"{wanted.digest} has more bytes than the {wanted.size} of its manifest")
                    progress.digest.update(fresh)
                    patience.brought(len(fresh))
                    yield fresh
            except BROKEN as e:
                failure = unreachable(response.url, e)
        if progress.offset < wanted.size:
            ignored += not is_rest and progress.offset == begun
            if ignored >= MOST_IGNORED:
                raise Interrupted(
                    f"{session.registry} sends {wanted.digest} only from its beginning, and never to its end",
                    hint=f"{progress.offset} of {wanted.size} bytes are here; it ignores Range",
                )
            await pause(patience, failure)
    if f"sha256:{progress.digest.hexdigest()}" != wanted.digest:
        raise RegistryError(
            f"filesystem layer verification failed for digest {wanted.digest}",
            hint=f"{session.registry} sent bytes of sha256:{progress.digest.hexdigest()}",
        )


def _skipped(response: aiohttp.ClientResponse, offset: int, wanted: Descriptor) -> int:
    """Bytes at the beginning of the answer that are here already.  Raises RegistryError for an answer to another request."""
    if response.status == 200:
        if response.content_length not in (None, wanted.size):
            raise RegistryError(
                f"{wanted.digest} has {response.content_length} bytes in the registry, and {wanted.size} in its manifest"
            )
        return offset
    said = response.headers.get("Content-Range", "")
    read = _CONTENT_RANGE.match(said)
    if read is None or int(read[1]) != offset or read[2] not in ("*", str(wanted.size)):
        raise RegistryError(
            f"{wanted.digest} was asked for from byte {offset} of {wanted.size}, and the answer is of another part",
            hint=f"Content-Range is {said[:80]!r}",
        )
    return 0
