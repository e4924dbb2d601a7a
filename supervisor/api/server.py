"""The API server: the socket and who may use it, and the way of every request from its bytes to its answer.

Errors become {"message": ...} here and nowhere else; what is not one of ours becomes a 500 with a log line and the
request's id, and says no more to the client.
"""

from __future__ import annotations

import asyncio
import grp
import itertools
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import HEADERS, Call, encode
from hawse.supervisor.api.connection import Api
from hawse.supervisor.api.engine_api import EngineApi
from hawse.supervisor.api.router import Router
from hawse.supervisor.core.errors import Gone, HawseError, KernelError, Unavailable, UserError
from hawse.supervisor.docker.query import Query
from hawse.supervisor.linux.peer import Peer
from hawse.supervisor.process.config import Config

log = structlog.get_logger()

BACKLOG = 1024
SHUTDOWN_GRACE = 5.0  # seconds, twice, that requests may still take when the daemon ends; streams end at once
_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
# From Python 3.13 on asyncio removes the path of a socket that it closes, also of one that belongs to a service manager.
_LEAVE_PATH: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


def make_app(engine: EngineApi, config: Config) -> Api:
    """The server for one engine; `serve` runs it."""
    router = Router()
    counter = itertools.count(1)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        call = Call(request=request, engine=engine, params={}, query=Query({}), version=(0, 0), id=f"{next(counter):x}")
        try:
            found = router.match(request.method, request.rel_url.raw_path)
            call.params, call.version = found.params, found.version
            call.query = Query.parse(request.rel_url.raw_query_string)
            if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            call.kept = config.durable and found.route.is_kept
            answer = await found.route.handle(call)
        except Exception as e:
            answer = _failed(call, _cause(e))
        return await _kept(call, answer)

    return Api(handle, _guard(config.group))


async def _kept(call: Call, answer: web.StreamResponse) -> web.StreamResponse:
    """The answer when it may leave.  Refusals too: "not modified" and "not found" tell of what another request has done."""
    if not call.streaming:
        try:
            await call.on_disk()
        except HawseError as e:
            return _failed(call, e)
    return answer


def _cause(error: Exception) -> Exception:
    """The first error in the groups that task groups make.  Raises it when it only says that the client went away."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionError):
        raise error
    return error


def _failed(call: Call, error: Exception) -> web.StreamResponse:
    """The answer for an error; when the answer had begun, the connection is broken off so that the client notices."""
    if isinstance(error, web.HTTPException):
        error = UserError(error.reason or "bad request")
    if isinstance(error, web.RequestPayloadError | HttpProcessingError):
        error = UserError(f"the request body cannot be read: {error}")
    if not isinstance(error, HawseError):
        log.error(
            "api_request_failed",
            request_id=call.id,
            method=call.request.method,
            path=call.request.path,
            exc_info=error,
        )
        error = _told(error, call.id)
    if call.streaming and call.request.transport is not None:
        call.request.transport.abort()
    if error.status == 304:
        return web.Response(status=304, headers=HEADERS)
    view: dict[str, Any] = {"message": str(error), "code": error.code}
    if isinstance(error, Gone):
        view["oldest"] = error.oldest
    headers = {**HEADERS, "Content-Type": wire.JSON, wire.REQUEST_ID: call.id}
    return web.Response(body=encode(view), status=error.status, headers=headers)


def _told(error: Exception, request: str) -> HawseError:
    """Return what to show: a disk's refusal is no secret and no mistake of ours; what else nobody expected is in the log."""
    if isinstance(error, OSError) and error.errno and error.filename:
        return KernelError.of("file", error)
    return HawseError(f"internal error: {type(error).__name__}", hint=f"see the daemon's log, request {request}")


def _guard(group: str) -> Callable[[Peer], bool]:
    """root, the daemon's own user, and the members of `group`."""
    users = {0, os.geteuid()}
    gid = _group_id(group)

    def allowed(peer: Peer) -> bool:
        return peer.uid in users or (gid is not None and gid in peer.gids)

    return allowed


def _group_id(group: str) -> int | None:
    if not group:
        return None
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UserError(f"configuration group = {group!r}: no such group", hint="create it with groupadd") from None


@asynccontextmanager
async def serve(api: Api, config: Config) -> AsyncIterator[None]:
    """Listen within the block: on the descriptors that a service manager passed, else on a socket of our own.

    Raises Unavailable when another daemon answers there.
    """
    loop = asyncio.get_running_loop()
    passed = _passed_sockets(os.environ)
    path = None if passed else config.socket_path
    sockets = passed or [_listen(config.socket_path, _group_id(config.group))]
    servers = [await loop.create_unix_server(api, sock=sock, backlog=BACKLOG, **_LEAVE_PATH) for sock in sockets]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        if path is not None:
            path.unlink(missing_ok=True)
        api.pre_shutdown()
        await api.shutdown(SHUTDOWN_GRACE)


def _listen(path: Path, gid: int | None) -> socket.socket:
    """A socket that is never, not for an instant, open to more than it should be: made with no rights, then opened."""
    _clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(sock.fileno(), 0)  # bind() gives the file the mode of the socket
        sock.bind(str(path))
        if gid is not None:
            os.chown(path, -1, gid)
        os.chmod(path, 0o660)
    except OSError as e:
        sock.close()
        raise Unavailable(f"cannot listen on {path}: {e.strerror}", hint="choose another with --host") from e
    return sock


def _clear(path: Path) -> None:
    """Remove a socket that a crashed daemon left; never anything else, and not a socket that answers."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Unavailable(f"cannot listen on {path}: it exists and is not a socket", hint="remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass
    raise Unavailable(f"another daemon answers on {path}", hint="choose another with --host")


def _passed_sockets(environ: os._Environ[str]) -> list[socket.socket]:
    """Socket activation; the variables are for this process only when LISTEN_PID says so."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    sockets = []
    for fd in range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + count):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets
