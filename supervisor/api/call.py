"""One request on its way through a handler: typed parameters in, Docker-shaped answers out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.connection import Connection
from hawse.supervisor.api.engine_api import EngineApi
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import encode_hook
from hawse.supervisor.docker.body import Body, parse
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.filters import parse as parse_filters
from hawse.supervisor.docker.query import Query

BODY_LIMIT = 8 << 20
"""Bytes of a JSON body; archives are streamed and have no limit of ours."""
BODY_DEADLINE = 60.0

MULTIPLEXED_SINCE = (1, 42)

HEADERS = {
    "Api-Version": wire.API_VERSION,
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Hawse/{wire.VERSION} (linux)",
}
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_encoder = msgspec.json.Encoder(enc_hook=encode_hook)


@dataclass(slots=True, kw_only=True)
class Call:
    """A request and everything its handler may use."""

    request: web.BaseRequest
    engine: EngineApi
    params: Mapping[str, str]
    query: Query
    version: tuple[int, int]
    id: str
    kept: bool = field(default=False)  # no power cut may take back what the answer tells of
    streaming: bool = field(default=False)  # the head of a streamed answer is out: errors can no longer be told

    @property
    def ref(self) -> str:
        """The object that the path names."""
        return self.params["ref"]

    @property
    def connection(self) -> Connection:
        assert isinstance(self.request.protocol, Connection)
        return self.request.protocol

    def stream_type(self, framed: bool) -> str:
        """The content type of a program's output; clients before 1.42 know only one."""
        return wire.MULTIPLEXED_STREAM if framed and self.version >= MULTIPLEXED_SINCE else wire.RAW_STREAM

    def filters(self, allowed: frozenset[str]) -> Filters:
        return parse_filters(self.query.text("filters"), allowed)

    async def body(self) -> Body:
        """The JSON body.  Raises UserError."""
        data = bytearray()
        with anyio.move_on_after(BODY_DEADLINE):
            async for chunk in self.request.content.iter_any():
                data += chunk
                if len(data) > BODY_LIMIT:
                    raise UserError(f"the request body is larger than {BODY_LIMIT >> 20} MiB")
            return parse(bytes(data))
        self.connection.keep_alive(False)
        raise UserError(f"the request body did not come within {BODY_DEADLINE:.0f} seconds")

    def json(self, view: Any, status: int = 200) -> web.Response:
        return web.Response(body=encode(view), status=status, headers={**HEADERS, "Content-Type": wire.JSON})

    def nothing(self, status: int = 204) -> web.Response:
        return web.Response(status=status, headers=HEADERS)

    def handed_over(self) -> web.Response:
        """After a hijack there is nothing to answer; the connection knows that this is not sent."""
        return web.Response()

    async def on_disk(self) -> None:
        """To be awaited before the answer's first byte.  Raises Unavailable: what was asked is done, but not safe."""
        if self.kept:
            await self.engine.store.durable()

    @asynccontextmanager
    async def stream(self, content_type: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
        """An answer in parts.  Its head goes out at once, and the block is cancelled when the client goes away."""
        await self.on_disk()
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": content_type, **(headers or {})})
        if self.request.version >= (1, 1):
            response.enable_chunked_encoding()
        await response.prepare(self.request)
        self.streaming = True
        with self.connection.until_lost():
            yield Stream(response, self.request.transport)
            await response.write_eof()


@dataclass(frozen=True, slots=True)
class Stream:
    response: web.StreamResponse
    transport: asyncio.Transport | None  # None when the client is gone already

    async def write(self, data: bytes) -> None:
        """Waits while the client reads slowly."""
        await self.response.write(data)

    def framed(self, data: bytes) -> bytes:
        """Return it as `write` would send it, for who writes to the transport itself."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.response.chunked and data else data

    async def line(self, view: Any) -> None:
        await self.response.write(encode(view) + b"\n")


def encode(view: Any) -> bytes:
    """JSON.  A name in a container's file system may be any bytes: what is no UTF-8 is shown as U+FFFD, as by docker."""
    try:
        return _encoder.encode(view)
    except UnicodeEncodeError:
        return _encoder.encode(_readable(msgspec.to_builtins(view, enc_hook=encode_hook)))


def _readable(value: Any) -> Any:
    match value:
        case str():
            return _LONE_SURROGATES.sub("\ufffd", value)
        case dict():
            return {_readable(key): _readable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_readable(inner) for inner in value]
    return value
