"""Endpoints of a container's files: archive (cp), export, changes (diff)."""

from __future__ import annotations

import asyncio
import base64
import io
import stat
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import IO, TYPE_CHECKING, Any

from aiohttp import web

from hawse.supervisor.api import upload, wire
from hawse.supervisor.api.call import Call, Stream, encode
from hawse.supervisor.core.errors import NotFound, UserError
from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.model import Container
from hawse.supervisor.images import archive, diff
from hawse.supervisor.lifecycle import rootview
from hawse.supervisor.lifecycle.rootview import in_thread
from hawse.supervisor.linux import rootcopy
from hawse.supervisor.linux.rootcopy import PathStat, Root

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE = 256 * 1024

# os.FileMode of Go, which is what X-Docker-Container-Path-Stat carries
_GO_BITS = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)
_GO_FLAGS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


async def stat_archive(call: Call) -> web.StreamResponse:
    """HEAD /containers/X/archive?path=: what is there, in a header."""
    path = _path(call)
    async with rootview.opened(call.engine.parts, call.ref) as (container, root):
        found = await _stat(root, path, container)
    response = call.nothing(200)
    response.headers[wire.PATH_STAT] = _header(found)
    return response


async def _stat(root: Root, path: str, container: Container) -> PathStat:
    """Return what is at the path.  Raises NotFound in docker's words."""
    try:
        return await in_thread("stat", lambda: rootcopy.stat_path(root, path))
    except NotFound:
        raise NotFound(f"Could not find the file {path} in container {container.name}") from None


async def get_archive(call: Call) -> web.StreamResponse:
    """GET /containers/X/archive?path=: it and what is below it, as a tar."""
    path = _path(call)
    async with rootview.opened(call.engine.parts, call.ref) as (container, root):
        found = await _stat(root, path, container)
        async with call.stream(wire.TAR, {wire.PATH_STAT: _header(found)}) as out:
            await _write(out, lambda file: rootcopy.pack(root, path, file))
    return out.response


async def export(call: Call) -> web.StreamResponse:
    """GET /containers/X/export: its root as a tar, without what is mounted into it."""
    async with rootview.opened(call.engine.parts, call.ref) as (_, root), call.stream(wire.TAR) as out:
        await _write(out, lambda file: rootcopy.pack(root, "/", file, cross_mounts=False))
    return out.response


async def put_archive(call: Call) -> web.StreamResponse:
    """PUT /containers/X/archive?path=: a tar is unpacked in a directory that exists."""
    path = _path(call)
    keep_kind = call.query.flag("noOverwriteDirNonDir")
    body = upload.file(call.request.content)
    async with rootview.opened(call.engine.parts, call.ref, write=True) as (container, root):

        def unpack() -> None:
            with archive.opened(body) as (tar, plain):
                rootcopy.unpack(root, path, tar, keep_kind=keep_kind)
                plain.finish()

        try:
            await in_thread("extract", unpack)
        except NotFound:
            raise NotFound(f"Could not find the file {path} in container {container.name}") from None
    return call.nothing(200)


async def changes(call: Call) -> web.StreamResponse:
    """GET /containers/X/changes: paths added, modified and deleted since its image."""
    container = await call.engine.container(call.ref)
    upper = call.engine.parts.places.of(container.id).upper
    lowers = await rootview.lowers(call.engine.images, container)
    found = await in_thread("diff", lambda: diff.changes(upper, lowers))
    return call.json([{"Path": change.path, "Kind": int(change.kind)} for change in found] or None)


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path or "\0" in path:
        raise UserError("bad parameter: path: an absolute path inside the container")
    return path


def _header(found: PathStat) -> str:
    mode = stat.S_IMODE(found.mode) & 0o777
    for is_kind, bit in _GO_BITS:
        if is_kind(found.mode):
            mode |= bit
    for flag, bit in _GO_FLAGS:
        if found.mode & flag:
            mode |= bit
    view: dict[str, Any] = {
        "name": found.name,
        "size": found.size,
        "mode": mode,
        "mtime": rfc3339(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(encode(view)).decode()


async def _write(out: Stream, work: Callable[[IO[bytes]], None]) -> None:
    """Run `work` in a thread with a file that goes to the client, at the client's pace."""
    loop = asyncio.get_running_loop()

    def run() -> None:
        with io.BufferedWriter(_Answer(out, loop), PIECE) as file:
            work(file)

    await in_thread("archive", run)


class _Answer(io.RawIOBase):
    def __init__(self, out: Stream, loop: asyncio.AbstractEventLoop) -> None:
        self._out, self._loop = out, loop

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """In the worker's thread.  Raises ConnectionError when the client is gone."""
        piece = bytes(data)
        try:
            asyncio.run_coroutine_threadsafe(self._out.write(piece), self._loop).result()
        except CancelledError as e:
            raise ConnectionAbortedError("the client is gone") from e
        return len(piece)
