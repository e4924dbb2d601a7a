"""Reading what logwriter.py wrote: entries, the newest N lines, the end of a log.  Sync, stdlib only; logfollow.py waits.

A log is several files, `PATH.2 PATH.1 PATH` oldest first.  They are opened together: a rotation while somebody reads takes
nothing away from him.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from hawse.supervisor.shim.logwriter import STREAMS

BLOCK = 64 * 1024
HEADER = len("2026-01-02T03:04:05.123456789Z stdout F ")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one stream said.  `time` is RFC 3339 with nanoseconds, of fixed width: it sorts as text."""

    time: str
    stream: str
    partial: bool  # no newline followed it in the original
    data: bytes
    starts_line: bool = True  # False: it goes on with what the stream's last entry left unfinished

    @property
    def output(self) -> bytes:
        """The bytes as the program wrote them."""
        return self.data if self.partial else self.data + b"\n"


class Parser:
    """Lines of the files → entries.  Remembers which stream is in the middle of a line."""

    def __init__(self) -> None:
        self._unfinished: set[str] = set()

    def parse(self, line: bytes) -> Entry | None:
        """None for what no writer wrote (the torn first half of an entry)."""
        parts = line.split(b" ", 3)
        if len(parts) != 4 or len(parts[0]) != 30 or parts[2] not in (b"F", b"P"):
            return None
        stream = parts[1].decode(errors="replace")
        if stream not in STREAMS:
            return None
        partial = parts[2] == b"P"
        starts = stream not in self._unfinished
        (self._unfinished.add if partial else self._unfinished.discard)(stream)
        return Entry(parts[0].decode(errors="replace"), stream, partial, parts[3], starts)


def timestamp(ns: int) -> str:
    """Nanoseconds since the Unix epoch in the form of `Entry.time`, to compare with."""
    seconds, rest = divmod(max(0, ns), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def open_files(path: Path) -> list[BinaryIO]:
    """The whole log, oldest file first; the caller closes them.  Empty when there is none (yet)."""
    while True:
        files: list[BinaryIO] = []
        try:
            while True:
                older = f"{path}.{len(files)}" if files else path
                files.append(open(older, "rb", buffering=0))  # noqa: SIM115  the caller closes them
        except FileNotFoundError:
            pass
        inodes = [os.fstat(file.fileno()).st_ino for file in files]
        # A rotation between two of the opens shows as one file twice, or as another file at the path.
        if len(set(inodes)) == len(inodes) and _inode(path) == (inodes[0] if inodes else None):
            return files[::-1]
        for file in files:
            file.close()


def successor(path: Path, current: BinaryIO) -> BinaryIO | None:
    """The file that was begun after `current`; None when `current` is the newest."""
    inode = os.fstat(current.fileno()).st_ino
    if _inode(path) in (inode, None):
        return None
    found = None
    files = open_files(path)
    inodes = [os.fstat(file.fileno()).st_ino for file in files]
    if inode in inodes[:-1]:
        found = files[inodes.index(inode) + 1]
    elif files and inode not in inodes:  # rotated away altogether while we were not looking
        found = files[0]
    for file in files:
        if file is not found:
            file.close()
    return found


def seek_tail(files: list[BinaryIO], count: int) -> list[BinaryIO]:
    """Position the files so that reading on gives the program's last `count` lines; files before that are closed."""
    start = len(files) - 1
    position = _size(files[-1]) if files else 0
    for index, offset, _ in _tail(files, count):
        start, position = index, offset
    for index, file in enumerate(files):
        if index < start:
            file.close()
        else:
            file.seek(position if index == start else 0)
    return files[max(start, 0) :]


def last_lines(path: Path, count: int, max_bytes: int) -> tuple[str, ...]:
    """The end of the output as text, both streams, oldest line first; of a line that is too long its end is cut off."""
    files = open_files(path)
    try:
        raw: list[bytes] = []
        budget = max_bytes
        for _, _, line in _tail(files, count):
            raw.append(line[: max_bytes + HEADER])
            budget -= max(0, len(line) - HEADER)
            if budget < 0:
                break
    finally:
        for file in files:
            file.close()
    parser = Parser()
    lines: dict[int, bytes] = {}  # number → text, in the order in which they began
    unfinished: dict[str, int] = {}
    for entry in filter(None, map(parser.parse, reversed(raw))):
        number = unfinished.pop(entry.stream, len(lines))
        lines[number] = lines.get(number, b"") + entry.data
        if entry.partial:
            unfinished[entry.stream] = number
    return tuple(line[:max_bytes].decode(errors="replace") for line in lines.values())


def _tail(files: list[BinaryIO], count: int) -> Iterator[tuple[int, int, bytes]]:
    """The entries of the last `count` lines, newest first.  A line that was written in pieces counts once."""
    lines = 0
    heard: set[bytes] = set()
    for index, offset, line in _backwards(files):
        parts = line.split(b" ", 3)
        if len(parts) == 4:
            lines += parts[2] == b"F" or parts[1] not in heard
            heard.add(parts[1])
            if lines > count:
                return
        yield index, offset, line


def _backwards(files: list[BinaryIO]) -> Iterator[tuple[int, int, bytes]]:
    """(file's index, offset, line), the newest first."""
    for index in range(len(files) - 1, -1, -1):
        end, kept = _size(files[index]), b""
        while end > 0:
            begin = max(0, end - BLOCK)
            block = os.pread(files[index].fileno(), end - begin, begin) + kept
            # The first may begin further up: it is kept and completed by the next block.
            first, *lines = block.split(b"\n")
            offset = begin + len(block)
            for line in reversed(lines):
                offset -= len(line)
                if line:
                    yield index, offset, line
                offset -= 1
            kept, end = first, begin
        if kept:
            yield index, 0, kept


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
