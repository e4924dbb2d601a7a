"""A served engine, and ways to talk to it that do not block its loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker

from hawse.supervisor.api.server import make_app, serve
from hawse.supervisor.store.store import Store
from tests.unit.api.fake_engine import BUSYBOX, FakeEngine
from tests.unit.parts import make_parts


class Api:
    def __init__(self, engine: FakeEngine, path: Path) -> None:
        self.engine = engine
        self.path = path

    async def docker(self, use: Callable[[docker.DockerClient], Any]) -> Any:
        """Run `use` with a docker-py client, in a thread."""

        def work() -> Any:
            client = docker.DockerClient(base_url=f"unix://{self.path}", version="1.47", timeout=60)
            try:
                return use(client)
            finally:
                client.close()

        return await asyncio.to_thread(work)

    async def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; status, headers in lower case, whole body."""
        reader, writer = await self.send(method, path, body, {"Connection": "close", **(headers or {})})
        status, fields = await head(reader)
        rest = await reader.read()
        writer.close()
        return status, fields, unchunked(rest) if fields.get("transfer-encoding") == "chunked" else rest

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", f"Content-Length: {len(data)}"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        return reader, writer

    async def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, _, data = await self.request(method, path, body)
        return status, json.loads(data) if data else None

    async def created(self, start: bool = True, **config: Any) -> str:
        """Plugged into nothing, unless the configuration says into what."""
        body = {"Image": "busybox", "Cmd": ["cat"], "HostConfig": {"NetworkMode": "none"}, **config}
        status, answer = await self.json("POST", "/v1.47/containers/create", body)
        assert status == 201, answer
        if start:
            await self.engine.start(answer["Id"])
        return str(answer["Id"])


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    text = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode()
    first, *lines = text.strip().split("\r\n")
    fields = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in fields}


def unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        whole, data = whole + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return whole


async def next_line(reader: asyncio.StreamReader) -> bytes:
    """The next chunk of a chunked answer."""
    size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), 60), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[Api]:
    """A fake engine over a real store, behind the real server."""
    async with await Store.open(root / "db") as store:
        await store.transact(lambda tx: tx.put_image(BUSYBOX))
        engine = FakeEngine(await make_parts(root, store, time.time_ns))
        config = engine.parts.config
        async with serve(make_app(engine, config), config):
            yield Api(engine, config.socket_path)
