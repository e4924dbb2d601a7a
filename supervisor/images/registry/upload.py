"""A blob into a registry: not at all where it is, mounted from another repository there, or sent from a file.

distribution-spec, "Pushing blobs".  Docker's way: POST, one PATCH with all of it, PUT.  After a break the registry is asked how
much it has; where it cannot go on (distribution before 3.0 refuses), this blob begins anew, and no other.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import aiohttp
from yarl import URL

from hawse.supervisor.core.errors import HawseError, NotFound, RegistryError, Unauthorized, UserError
from hawse.supervisor.images.registry.answers import Asked, Interrupted
from hawse.supervisor.images.registry.media import Descriptor
from hawse.supervisor.images.registry.retry import PATIENT, Patience
from hawse.supervisor.images.registry.session import Session
from hawse.supervisor.images.registry.transport import pause
from hawse.supervisor.linux import threads

PIECE = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)\Z")


class Outcome(enum.StrEnum):
    """In docker's words."""

    EXISTS = "Layer already exists"
    MOUNTED = "Mounted from"
    PUSHED = "Pushed"


@dataclass(slots=True, kw_only=True)
class Upload:
    """One blob on its way; `sent` hears after each piece how many bytes the registry was sent."""

    session: Session
    path: str
    asked: Asked
    scope: str
    blob: Descriptor
    file: Path
    sent: Callable[[int], None]

    async def run(self, mount_from: str = "") -> Outcome:
        """Raises as Session.open; OSError or UserError for the file."""
        if (size := self.file.stat().st_size) != self.blob.size:
            raise UserError(f"{self.file} has {size} bytes, and {self.blob.digest} has {self.blob.size}")
        patience = Patience(PATIENT)
        place: URL | None = None
        begun = at = 0
        while True:
            try:
                if place is not None:
                    known, at = at, await self._reached(place)
                    patience.brought(at - known)
                if not at:
                    if await self.is_there():
                        return Outcome.PUSHED if begun else Outcome.EXISTS
                    begun += 1
                    if (place := await self._begin(mount_from)) is None:
                        return Outcome.MOUNTED
                assert place is not None
                if at < self.blob.size or not at:
                    place = await self._send(place, at)
                await self._finish(place)
                return Outcome.PUSHED
            except (RegistryError, NotFound) as e:
                if not isinstance(e, Interrupted):
                    if isinstance(e, Unauthorized) or not at:
                        raise
                    place, at = None, 0  # it does not take the rest
                failure: HawseError = e
            await pause(patience, failure)

    async def is_there(self) -> bool:
        """Raises as Session.open: a blob is not taken for missing because nobody answered."""
        async with await self._open("HEAD", f"{self.path}/blobs/{self.blob.digest}", (200, 404)) as response:
            return response.status == 200

    async def _begin(self, mount_from: str) -> URL | None:
        """Ask where to send it; None when the registry had it in the other repository, and now here too."""
        query = f"?mount={self.blob.digest}&from={mount_from}" if mount_from else ""
        async with await self._open("POST", f"{self.path}/blobs/uploads/{query}", (201, 202)) as response:
            return None if response.status == 201 else self._place(response)

    async def _reached(self, place: URL) -> int:
        """Ask how much of it the registry has; 0 when it has forgotten this upload."""
        async with await self._open("GET", place, (204, 400, 404, 416)) as response:
            read = _RANGE.match(response.headers.get("Range", "")) if response.status == 204 else None
            return int(read[1]) + 1 if read and int(read[1]) else 0

    async def _send(self, place: URL, at: int) -> URL:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self.blob.size - at)}
        if at:
            headers["Content-Range"] = f"{at}-{self.blob.size - 1}"
        once = Patience(1)  # what was sent so far is to be asked for first
        with self.file.open("rb") as file:
            response = await self._open(
                "PATCH", place, (202,), headers, body=lambda: self._pieces(file, at), patience=once
            )
            async with response:
                return self._place(response)

    async def _finish(self, place: URL) -> None:
        url = URL(f"{place}{'&' if place.raw_query_string else '?'}digest={self.blob.digest}", encoded=True)
        (await self._open("PUT", url, (201, 204), {"Content-Length": "0"}, patience=Patience(1))).close()

    async def _pieces(self, file: BufferedReader, at: int) -> AsyncIterator[bytes]:
        """Read it from there; the file is the caller's, for aiohttp leaves a body unfinished when a connection breaks."""
        while piece := await threads.run_sync(_piece, file, at):
            yield piece
            at += len(piece)
            self.sent(at)

    def _place(self, response: aiohttp.ClientResponse) -> URL:
        """Raises RegistryError."""
        location = response.headers.get("Location", "")
        try:
            if location:
                return self.session.url(location)
        except ValueError:
            pass
        raise RegistryError(f"{self.session.registry} does not say where to upload to: {location[:200]!r}")

    async def _open(
        self,
        method: str,
        where: str | URL,
        expected: tuple[int, ...],
        headers: dict[str, str] | None = None,
        *,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        patience: Patience | None = None,
    ) -> aiohttp.ClientResponse:
        return await self.session.open(
            *(method, where, self.asked),
            scope=self.scope,
            expected=expected,
            headers=headers,
            body=body,
            patience=patience,
        )


def _piece(file: BufferedReader, at: int) -> bytes:
    return os.pread(file.fileno(), PIECE, at)
