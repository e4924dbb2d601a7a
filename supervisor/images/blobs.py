"""Blobs on disk, as registries have them, each named by its digest: manifests, configurations, compressed layers.

    ROOT/blobs/sha256/<hex>     whole, verified, never written to again
    ROOT/blobs/partial/<hex>    being made; the name says what it must become, so it is gone on with after a cut or a crash

What a crash leaves is one of the two, or nothing.  What no image needs is kept for a week, since a pull that died may be asked
for again, and then swept.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.linux.flush import flush_directory

SPARED = 7 * 86_400
"""Seconds since its last byte, for which a blob that no image needs is kept."""
_PIECE = 1 << 20


class Partial:
    """A blob that is being made: `progress` is how far it is.  A context manager; what is not published stays partial.

    Two of the same blob must not be open at once.
    """

    def __init__(self, blobs: Blobs, digest: str, size: int) -> None:
        self._blobs, self._digest, self._size = blobs, digest, size
        self.path = blobs.partial(digest)
        self.progress = Progress()

    def __enter__(self) -> Self:
        """Take up what is there, read through once for the digest; what is longer than the blob begins anew."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size > self._size:
            os.ftruncate(self._file, 0)
        while piece := os.read(self._file, _PIECE):
            self.progress.digest.update(piece)
            self.progress.offset += len(piece)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(self, piece: bytes) -> None:
        """Append what a download yields, which counts it in `progress` itself."""
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]

    def publish(self) -> Path:
        """Give it its name, when its bytes are on the disk.

        Raises UserError when it is not the blob: then all of it is thrown away, since nobody knows which byte is wrong.
        """
        found = f"sha256:{self.progress.digest.hexdigest()}"
        if (found, os.fstat(self._file).st_size) != (self._digest, self._size):
            self.discard()
            raise UserError(f"{self._digest} was to be {self._size} bytes, and what came is {found}")
        os.fsync(self._file)
        whole = self._blobs.path(self._digest)
        os.rename(self.path, whole)
        return whole

    def discard(self) -> None:
        """Throw away what there is of it."""
        self.path.unlink(missing_ok=True)


class Blobs:
    """The store.  Methods block; whoever calls them from the event loop uses a thread."""

    def __init__(self, root: Path) -> None:
        self.directory, self._partial = root / "blobs" / "sha256", root / "blobs" / "partial"

    def make(self) -> None:
        """Nobody but root looks below."""
        for directory in (self.directory.parent, self.directory, self._partial):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self.directory / digest.removeprefix("sha256:")

    def partial(self, digest: str) -> Path:
        return self._partial / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def put(self, digest: str, content: bytes) -> None:
        """Keep something small, which is that blob."""
        self.partial(digest).write_bytes(content)
        os.rename(self.partial(digest), self.path(digest))

    def begin(self, digest: str, size: int) -> Partial:
        """Make a blob, or go on with one that an earlier attempt began."""
        return Partial(self, digest, size)

    def flush_names(self) -> None:
        """Wait until it is on the disk which blobs there are: before a record names one."""
        flush_directory(self.directory)

    def discard(self, digest: str) -> None:
        """Remove it, or what there is of it; gone is success."""
        for file in (self.path(digest), self.partial(digest)):
            file.unlink(missing_ok=True)

    def sweep(self, used: Collection[str], now: float) -> None:
        """Remove what no image needs and nobody has written to for a week.  At the start only."""
        for directory in (self.directory, self._partial):
            for entry in directory.iterdir():
                needed = directory == self.directory and f"sha256:{entry.name}" in used
                if not needed and entry.stat().st_mtime < now - SPARED:
                    entry.unlink()
