"""The container's log file as the shim writes it.  Stdlib only, synchronous, few imports: the child side uses it.

One entry a line, as in the CRI: `<rfc3339nano> <stdout|stderr> <F|P> <bytes>\\n`.  F: a newline ended it in the original.
P: it did not (a prompt, a piece of a very long line, the end of the output), so a reader joins it with what the same
stream says next.  `PATH` is rotated by size to `PATH.1`, `PATH.2`, ...; a rotation always makes a new inode, and that is
how a reader that follows notices it.

A full disk must not stop the container: what cannot be written is dropped as whole entries and counted, and the count is
written to the log as soon as there is room again.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_PARTIAL = 16 * 1024
"""Bytes without a newline that are held back before they are written as a P entry (docker's figure)."""

STREAMS = ("stdout", "stderr")


class LogWriter:
    """Appends what a container says.  At most `max_files` files of about `max_size` bytes (0 = unlimited) are kept."""

    def __init__(self, path: str, max_size: int, max_files: int) -> None:
        self.path, self.max_size, self.max_files = path, max_size, max(1, max_files)
        self.lost = 0  # bytes (of entries, prefix included) that were dropped and not yet reported in the log
        self._why = ""
        self._pending = dict.fromkeys(STREAMS, b"")
        self._second = -1
        self._date = ""
        self._fd = -1
        self._size = 0
        self._open()

    def write(self, stream: str, data: bytes) -> None:
        """Append `data`, cut into lines; an unfinished last one waits for its end, `flush_partial` or its turn to be long.

        Never raises for a disk that is full or broken: see `lost`.
        """
        lines, newline, rest = data.rpartition(b"\n")
        out = b""
        if newline:
            prefix = self._prefix(stream, b"F")
            out = prefix + self._pending[stream] + lines.replace(b"\n", b"\n" + prefix) + b"\n"
        else:
            rest = self._pending[stream] + rest
        if len(rest) > LONGEST_PARTIAL:
            out += self._prefix(stream, b"P") + rest + b"\n"
            rest = b""
        self._pending[stream] = rest
        if self.max_size and len(out) > self.max_size:
            for piece in _pieces(out, self.max_size):
                self._append(piece)
        elif out:
            self._append(out)

    @property
    def has_partial(self) -> bool:
        """Something waits for `flush_partial`."""
        return any(self._pending.values())

    def flush_partial(self) -> None:
        """Write unfinished lines now, as P entries.  For when the program has paused: a prompt must be seen."""
        for stream, rest in self._pending.items():
            if rest:
                self._pending[stream] = b""
                self._append(self._prefix(stream, b"P") + rest + b"\n")

    def close(self) -> None:
        """Flush and let go of the file.  Safe to call twice."""
        if self._fd >= 0:
            self.flush_partial()
            self._close_file()

    def _open(self) -> None:
        """Raises OSError: a log that cannot be opened at all fails the start, unlike one that fills the disk later."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            # A shim that was killed in the middle of a write left a torn entry: end it, or ours would hang on to it.
            self._append(b"\n")

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _prefix(self, stream: str, tag: bytes) -> bytes:
        second, ns = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return b"%b.%09dZ %b %b " % (self._date.encode(), ns, stream.encode(), tag)

    def _append(self, entries: bytes) -> None:
        size = len(entries)
        if self.lost:
            note = f"hawse: {self.lost} bytes of output were lost here: {self._why}\n".encode()
            entries = self._prefix("stderr", b"F") + note + entries
        try:
            if self.max_size and self._size and self._size + len(entries) > self.max_size:
                self._rotate()
            elif self._fd < 0:
                self._open()
            self._write_whole(entries)
            self.lost = 0
        except OSError as e:
            self.lost += size
            self._why = e.strerror or str(e)

    def _write_whole(self, entries: bytes) -> None:
        """All of `entries` or, when the disk fills half-way, nothing of it."""
        view = memoryview(entries)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(entries)

    def _rotate(self) -> None:
        """PATH.1 → PATH.2 and so on, PATH → PATH.1, and a new PATH."""
        self._close_file()
        self._size = 0
        for number in range(self.max_files, 0, -1):
            older = f"{self.path}.{number - 1}" if number > 1 else self.path
            try:
                if number == self.max_files:
                    os.unlink(older)
                else:
                    os.rename(older, f"{self.path}.{number}")
            except FileNotFoundError:
                pass
        self._open()


def _pieces(entries: bytes, size: int) -> Iterator[bytes]:
    """Give as many whole entries as fit into `size` bytes, each time; one that does not is alone."""
    start = 0
    while start < len(entries):
        end = entries.rfind(b"\n", start, start + size) + 1 or entries.index(b"\n", start + size) + 1
        yield entries[start:end]
        start = end
