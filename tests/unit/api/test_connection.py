"""The connection under the API: hijacks lose nothing, strangers are refused, vanished clients are noticed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from hawse.supervisor.api import connection
from hawse.supervisor.api.connection import HELD_LIMIT, Api, Connection
from hawse.supervisor.linux.peer import Peer, credentials

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


@asynccontextmanager
async def served(path: Path, handler: Handler, allowed: Callable[[Peer], bool] | None = None) -> AsyncIterator[Api]:
    api = Api(handler, allowed)
    server = await asyncio.get_running_loop().create_unix_server(api, str(path))
    try:
        yield api
    finally:
        server.close()
        api.pre_shutdown()
        await api.shutdown(1)


async def client(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(path))


async def echo(sock: socket.socket, prefix: bytes) -> None:
    """What a shim does with a handed-over socket: everything until EOF, sent back."""
    loop = asyncio.get_running_loop()
    said = bytearray(prefix)
    while data := await loop.sock_recv(sock, 65536):
        said += data
    await loop.sock_sendall(sock, bytes(said))
    sock.close()


def hijacking(tasks: list[asyncio.Task[None]]) -> Handler:
    """Reads the body, says 101 and leaves the socket to an echo."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        connection = request.protocol
        assert isinstance(connection, Connection)
        await asyncio.sleep(0)
        sock, prefix = connection.take()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(sock, b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        tasks.append(asyncio.create_task(echo(sock, body + b"|" + prefix)))
        return web.Response()

    return handle


@pytest.mark.parametrize("upgrade", [UPGRADE, b""], ids=["upgrade", "plain"])
@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
async def test_bytes_behind_a_hijacked_request_reach_whoever_takes_the_socket(
    tmp_path: Path, upgrade: bytes, pieces: int
) -> None:
    """However the kernel cuts the stream: head, body and first input arrive in any pieces."""
    tasks: list[asyncio.Task[None]] = []
    async with served(tmp_path / "s", hijacking(tasks)):
        reader, writer = await client(tmp_path / "s")
        message = (
            b"POST /v1.47/exec/abc/start HTTP/1.1\r\nHost: d\r\n%bContent-Length: 2\r\n\r\n{}GET / first input\r\n"
            % upgrade
        )
        step = -(-len(message) // pieces)
        for start in range(0, len(message), step):
            writer.write(message[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 101 UPGRADED\r\n\r\n"
        writer.write(b"and more")
        writer.write_eof()
        assert await reader.read() == b"{}|GET / first input\r\nand more"
        await asyncio.gather(*tasks)
        writer.close()


async def test_a_client_that_sends_all_and_closes_its_side_at_once_is_served(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[None]] = []
    async with served(tmp_path / "s", hijacking(tasks)):
        reader, writer = await client(tmp_path / "s")
        writer.write(b"POST /containers/c/attach?stream=1 HTTP/1.1\r\nHost: d\r\n\r\nall I have")
        writer.write_eof()
        assert (await reader.read()).endswith(b"|all I have")
        await asyncio.gather(*tasks)
        writer.close()


async def test_input_beyond_what_is_held_waits_in_the_socket(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[None]] = []
    release = asyncio.Event()
    hijack = hijacking(tasks)

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return await hijack(request)

    async with served(tmp_path / "s", slow) as api:
        reader, writer = await client(tmp_path / "s")
        data = os.urandom(3 * HELD_LIMIT)
        writer.write(b"POST /containers/c/attach HTTP/1.1\r\nHost: d\r\n\r\n" + data)
        with anyio.fail_after(60):
            while not api.connections or len(api.connections[0]._held or b"") < HELD_LIMIT:  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
        release.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b"|" + data
        await asyncio.gather(*tasks)
        writer.close()


@pytest.mark.parametrize("upgrade", [UPGRADE, b""], ids=["upgrade", "plain"])
async def test_a_hijack_that_is_refused_leaves_an_ordinary_connection(tmp_path: Path, upgrade: bytes) -> None:
    """docker-py goes on using the connection on which an exec was answered with 404."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404, text=request.path)

    async with served(tmp_path / "s", handle):
        reader, writer = await client(tmp_path / "s")
        for _ in range(2):
            writer.write(b"POST /exec/abc/start HTTP/1.1\r\nHost: d\r\n%bContent-Length: 2\r\n\r\n{}" % upgrade)
            assert b"404" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len("/exec/abc/start")) == b"/exec/abc/start"
        writer.write(
            b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\nGET /second HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
        )
        rest = await reader.read()
        assert rest.count(b"HTTP/1.1 404") == 2 and b"/_ping" in rest and rest.endswith(b"/second")
        writer.close()


async def test_an_upload_that_looks_like_a_hijack_is_only_data(tmp_path: Path) -> None:
    """A piece of an archive may begin with the very bytes of an attach request."""
    seen: list[bytes] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(await request.read())
        return web.Response()

    async with served(tmp_path / "s", handle):
        reader, writer = await client(tmp_path / "s")
        trap = b"POST /containers/c/attach HTTP/1.1\r\nHost: d\r\n\r\n"
        writer.write(b"PUT /x HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % (2 * len(trap)))
        await writer.drain()
        await asyncio.sleep(0.02)
        for _ in range(2):
            writer.write(trap)
            await writer.drain()
            await asyncio.sleep(0.02)
        assert b"200" in await reader.readuntil(b"\r\n\r\n")
        assert seen == [trap * 2]
        writer.close()


async def test_strangers_get_403_and_are_never_read(tmp_path: Path) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("a refused peer must not reach a handler")

    async with served(tmp_path / "s", handle, allowed=lambda peer: peer.uid == 12345):
        reader, writer = await client(tmp_path / "s")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 403") and b"permission denied" in answer
        writer.close()


async def test_a_stream_whose_client_went_away_is_cancelled(tmp_path: Path) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert isinstance(request.protocol, Connection)
        with request.protocol.until_lost():
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
        return response

    async with served(tmp_path / "s", handle) as api:
        _, writer = await client(tmp_path / "s")
        writer.write(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        await asyncio.wait_for(began.wait(), 60)
        writer.close()
        await asyncio.wait_for(ended.wait(), 60)
        with anyio.fail_after(60):
            while api.connections:
                await asyncio.sleep(0.005)


async def test_a_write_that_finds_the_client_gone_is_no_error(tmp_path: Path) -> None:
    """`docker run` hangs up as soon as it has read the exit code, maybe before the last chunk."""
    began, gone, failed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        assert isinstance(request.protocol, Connection) and request.transport is not None
        try:
            with request.protocol.until_lost():
                began.set()
                request.transport.close()  # closing, and connection_lost not yet called
                await response.write_eof()
        except BaseException:
            failed.set()
            raise
        finally:
            gone.set()
        return response

    async with served(tmp_path / "s", handle):
        _, writer = await client(tmp_path / "s")
        writer.write(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        await asyncio.wait_for(gone.wait(), 60)
        writer.close()
    assert began.is_set() and not failed.is_set()


def test_the_kernel_says_who_the_peer_is() -> None:
    left, right = socket.socketpair()
    with left, right:
        peer = credentials(left)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert {os.getegid(), *os.getgroups()} == peer.gids


async def ok(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(text="ok")


HALVES = {
    "nothing": b"",
    "a line": b"POST /exec/a/start HTTP/1.1\r\n",
    "a head": b"POST /exec/a/start HTTP/1.1\r\nHost: d\r\n",
    "an ordinary head": b"GET /_ping HTTP/1.1\r\nHost: d\r\n",
    "a body": b"POST /containers/a/attach HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\n{",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
async def test_half_a_request_ends_with_its_client(tmp_path: Path, half: bytes) -> None:
    async with served(tmp_path / "s", ok) as api:
        for way in ("close", "shutdown"):
            reader, writer = await client(tmp_path / "s")
            writer.write(half)
            await writer.drain()
            if way == "shutdown":
                writer.write_eof()
                await reader.read()
            writer.close()
        with anyio.fail_after(60):
            while api.connections:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
async def test_half_a_request_has_a_deadline(tmp_path: Path, half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_DEADLINE", 0.05)
    async with served(tmp_path / "s", ok):
        reader, writer = await client(tmp_path / "s")
        writer.write(half)
        with anyio.fail_after(60):
            assert await reader.read() == b""
        writer.close()


async def test_a_whole_request_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_DEADLINE", 0.05)

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(text="ok")

    async with served(tmp_path / "s", slow):
        reader, writer = await client(tmp_path / "s")
        for _ in range(2):
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"ok"
        writer.close()


async def test_a_client_that_leaves_a_stream_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with served(tmp_path / "s", stream) as api:
        reader, writer = await client(tmp_path / "s")
        writer.write(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()
        with anyio.fail_after(60):
            while api.connections:
                await asyncio.sleep(0.005)
    assert caplog.text == ""


async def test_what_is_no_http_is_refused_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path / "s", ok):
        reader, writer = await client(tmp_path / "s")
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert b" 400 " in await reader.readuntil(b"\r\n")
        assert b'{"message": "bad request: ' in await reader.read()
        writer.close()
    assert caplog.text == ""
