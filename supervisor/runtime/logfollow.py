"""A container's log for `logs`: the last lines, a span of time, and what is still to come.  Daemon side, async.

The shim writes, this only reads: a reader that stops reading costs nobody anything, and one that follows is woken by
inotify.  Rotation is noticed by the file's inode (logwriter.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hawse.supervisor.linux import threads
from hawse.supervisor.linux.inotify import DirectoryWatch
from hawse.supervisor.runtime.logreader import BLOCK, Entry, Parser, open_files, seek_tail, successor, timestamp

POLL = 0.25
"""Seconds between two looks where inotify is not to be had (all of the user's instances are taken)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Times in ns since the Unix epoch, 0 = open; `tail` None = everything; `since` and `until` are inclusive."""

    stdout: bool = True
    stderr: bool = True
    tail: int | None = None
    since: int = 0
    until: int = 0


async def read_log(
    path: Path, query: LogQuery, ended: asyncio.Event | None = None
) -> AsyncGenerator[list[Entry], None]:
    """Entries in batches, in the order they were written.  Never an empty batch.

    With `ended` it goes on until that is set (the container has ended, its shim has written everything) and the rest is
    read, or until `query.until` has passed.  Close it (`contextlib.aclosing`) when you leave it early.
    """
    wanted = {name for name, flag in (("stdout", query.stdout), ("stderr", query.stderr)) if flag}
    since = timestamp(query.since) if query.since else ""
    until = timestamp(query.until) if query.until else "9"
    async with contextlib.aclosing(_lines(path, query, ended)) as batches:
        parser = Parser()
        async for lines in batches:
            entries = list(filter(None, map(parser.parse, lines)))
            kept = [e for e in entries if e.stream in wanted and since <= e.time <= until]
            if kept:
                yield kept
            if entries and entries[-1].time > until:
                return


async def _lines(path: Path, query: LogQuery, ended: asyncio.Event | None) -> AsyncGenerator[list[bytes], None]:
    with contextlib.ExitStack() as stack:
        watch = _watch(path.parent, stack) if ended else None
        files = open_files(path)
        stack.callback(lambda: [file.close() for file in files])
        if query.tail is not None:
            files = await threads.run_sync(seek_tail, files, query.tail)  # may be all of a long log
        rest = b""
        while True:
            over = ended is None or ended.is_set()  # looked at before the file is: what was written before is seen
            while files and (block := files[0].read(BLOCK)):
                *lines, rest = (rest + block).split(b"\n")
                if lines:
                    yield lines
                await asyncio.sleep(0)  # a long log must not keep the daemon from its other work
            if len(files) > 1:  # this one was closed before it was renamed: it is read to its end
                files.pop(0).close()
                rest = b""
            elif not _look_for_more(path, files) and (
                over or ended is None or not await _more(ended, watch, query.until)
            ):
                return


def _look_for_more(path: Path, files: list[BinaryIO]) -> bool:
    """Open what came after a rotation, or the first file of all.  The rest of the one before is still to be read."""
    if not files:
        files += open_files(path)
        return bool(files)
    following = successor(path, files[0])
    if following is not None:
        files.append(following)
    return following is not None


async def _more(ended: asyncio.Event, watch: DirectoryWatch | None, until: int) -> bool:
    """Wait until there may be more to read.  False when `until` passes first."""
    left = (until - time.time_ns()) / 1e9 if until else None
    if left is not None and left <= 0:
        return False
    waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(ended.wait())}
    if watch is not None:
        waits.add(asyncio.ensure_future(watch.wait()))
    try:
        pause = left if watch is not None else min(POLL, left or POLL)
        await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in waits:
            waiting.cancel()
    return True


def _watch(directory: Path, stack: contextlib.ExitStack) -> DirectoryWatch | None:
    try:
        return stack.enter_context(DirectoryWatch(directory))
    except OSError:
        return None
