"""What registries have, kept as it came: configurations, manifests and layers, under their digests.

    ROOT/blobs/sha256/<hex>     whole and checked; never changed
    ROOT/blobs/partial/<hex>    on its way here; its name says what it must become

A pull that ended in the middle is gone on with by the next, of whichever daemon: nothing is fetched twice.  What no image needs
is kept for a week, for such pulls, and then swept at a start.  Methods block.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hawse.supervisor.linux.flush import flush_directory

if TYPE_CHECKING:
    from hashlib import _Hash
    from types import TracebackType

KEPT = 7 * 24 * 3600 * 10**9
"""ns for which what no image needs is kept, from when it last grew."""
_PIECE = 1 << 20


class Blobs:
    """The directories.  `digest` is always of the form sha256:<hex>, as checked by who read it."""

    def __init__(self, root: Path) -> None:
        self._whole, self._partial = root / "blobs" / "sha256", root / "blobs" / "partial"

    def make(self) -> None:
        """Nobody but root looks below: layers hold other people's secrets."""
        for directory in (self._whole, self._partial):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        return self._whole / _hex(digest)

    def put(self, digest: str, content: bytes) -> None:
        """Keep something small, that was checked."""
        partial = self._partial / _hex(digest)
        partial.write_bytes(content)
        self._publish(partial)

    def resume(self, digest: str) -> Partial:
        """Open what there is of one, and read it: its digest goes on from there."""
        return Partial(self._partial / _hex(digest))

    def publish(self, partial: Partial) -> None:
        """Give it its name; its caller has compared the digest."""
        partial.close()
        self._publish(partial.path)

    def _publish(self, partial: Path) -> None:
        os.rename(partial, self._whole / partial.name)

    def flush_names(self) -> None:
        """Wait until it is on the disk which blobs there are."""
        flush_directory(self._whole)

    def discard(self, digest: str) -> None:
        """Gone is success."""
        for directory in (self._whole, self._partial):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(directory / _hex(digest))

    def sweep(self, used: Collection[str], now: int) -> None:
        """Remove what no image needs and has not grown for a week; `now` in ns since the epoch.  At the start only."""
        kept = {_hex(digest) for digest in used}
        for directory in (self._whole, self._partial):
            for entry in directory.iterdir():
                needed = directory is self._whole and entry.name in kept
                if not needed and now - entry.stat().st_mtime_ns > KEPT:
                    entry.unlink()


class Partial:
    """A blob that grows; a context manager.  `digest` is of its first `offset` bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest: _Hash = hashlib.sha256()
        self.offset = 0
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115  closed by close
        try:
            self._file.seek(0)
            while piece := self._file.read(_PIECE):
                self.digest.update(piece)
                self.offset += len(piece)
        except BaseException:
            self.close()
            raise

    def write(self, piece: bytes) -> None:
        """Append it.  Raises OSError; what was written of it by then is read again by the next `resume`."""
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]

    def start_over(self) -> None:
        """Forget what is there: it is not what it should be."""
        self._file.truncate(0)
        self.digest, self.offset = hashlib.sha256(), 0

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
