"""The client against registries that Debian's is not: those that page, resume uploads, or send what they should not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hawse.supervisor.core.errors import RegistryError, UserError
from hawse.supervisor.images.registry import platforms
from hawse.supervisor.images.registry.client import MOST_NESTED, Client
from hawse.supervisor.images.registry.credentials import Credentials
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.images.registry.endpoints import Access
from hawse.supervisor.images.registry.media import OCI_INDEX, OCI_MANIFEST, Descriptor
from hawse.supervisor.images.registry.reference import Reference, parse
from hawse.supervisor.images.registry.upload import Outcome

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
AMD64 = platforms.of_machine("x86_64")
TESTER = Credentials(username="tester", password="secret")


class Server:
    """A registry of handlers by method and path below /v2/, and what it was asked."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.asked: list[str] = []
        self.domain = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        what = f"{request.method} {request.path.removeprefix('/v2/')}"
        self.asked.append(what)
        if what in self.handlers:
            return await self.handlers[what](request)
        return web.Response() if request.path == "/v2/" else web.Response(status=404)

    def has(self, what: str, content: bytes, **headers: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(
                body=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )

        self.handlers[f"GET {what}"] = answer

    def name(self, tag: str = "1") -> Reference:
        return parse(f"{self.domain}/a:{tag}")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as listening:
        made.domain = f"127.0.0.1:{listening.port}"
        yield made


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.domain, Access(), TESTER) as made:
        yield made


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(media_type="a/b", digest=digest_of(content), size=len(content))


async def whole(client: Client, name: Reference, blob: Descriptor, progress: Progress | None = None) -> bytes:
    return b"".join([piece async for piece in client.blob(name, blob, progress or Progress())])


async def test_tags_come_in_pages(server: Server, client: Client) -> None:
    async def tags(request: web.Request) -> web.Response:
        last = request.query.get("last", "")
        page, following = {"": (["a", "b"], "b"), "b": (["c"], "c"), "c": ([], "c")}[last]
        headers = {"Link": f'</v2/a/tags/list?n=2&last={following}>; rel="next"'}
        return web.json_response({"name": "a", "tags": page}, headers=headers)

    server.handlers["GET a/tags/list"] = tags
    assert await client.tags(server.name()) == ["a", "b", "c"]


async def test_an_index_in_an_index_and_no_more_than_a_few(server: Server, client: Client) -> None:
    content = json.dumps(
        {"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": digest_of(b""), "size": 0}, "layers": []}
    )
    kind, inner = OCI_MANIFEST, content.encode()
    for depth in range(MOST_NESTED + 1):
        server.has(f"a/manifests/{digest_of(inner)}", inner, Content_Type=kind)
        entry = {"mediaType": kind, "digest": digest_of(inner), "size": len(inner)}
        entry["platform"] = {"os": "linux", "architecture": "amd64"}
        inner = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        kind = OCI_INDEX
        server.has(f"a/manifests/{depth}", inner, Content_Type=kind)
    found = await client.resolve(server.name(str(MOST_NESTED - 1)), AMD64)
    assert (found.found.content, len(found.indexes)) == (content.encode(), MOST_NESTED)
    with pytest.raises(RegistryError, match="index of indexes, more than 4 deep"):
        await client.resolve(server.name(str(MOST_NESTED)), AMD64)


async def test_an_upload_goes_on_where_it_broke(server: Server, client: Client, tmp_path: Path) -> None:
    """Where the registry says what it has.  It also forgets, in what it tells, on which host it is; a path will do."""
    content, kept, ranges = bytes(range(256)) * 20_000, bytearray(), []

    async def begin(_: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Location": "/v2/a/blobs/uploads/1?_state=a%2Fb"})

    async def patch(request: web.Request) -> web.Response:
        ranges.append(request.headers.get("Content-Range", ""))
        async for chunk in request.content.iter_any():
            kept.extend(chunk)
            if len(ranges) == 1 and len(kept) > 1 << 20:
                assert request.transport is not None
                request.transport.close()
                break
        assert request.raw_path.endswith("?_state=a%2Fb")
        return web.Response(status=202, headers={"Location": "/v2/a/blobs/uploads/1?_state=a%2Fb"})

    async def status(_: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Range": f"0-{len(kept) - 1}"})

    async def put(request: web.Request) -> web.Response:
        assert request.query["digest"] == digest_of(bytes(kept))
        return web.Response(status=201)

    place = "a/blobs/uploads/1"
    server.handlers |= {
        "POST a/blobs/uploads/": begin,
        f"PATCH {place}": patch,
        f"GET {place}": status,
        f"PUT {place}": put,
    }
    file = tmp_path / "blob"
    file.write_bytes(content)
    assert await client.push_blob(server.name(), blob_of(content), file) == Outcome.PUSHED
    assert bytes(kept) == content
    first, second = ranges
    assert first == "" and int(second.partition("-")[0]) > 1 << 20


async def test_a_file_of_another_length_is_not_sent(server: Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"has 3 bytes, and .* has 4"):
        await client.push_blob(server.name(), blob_of(b"abcd"), tmp_path / "blob")
    assert not server.asked


@pytest.mark.parametrize(
    ("status", "content_range", "said"),
    [
        (206, "bytes 0-9/10", "asked for from byte 4 of 10, and the answer is of another part"),
        (206, "bytes 4-9/11", "answer is of another part"),
        (206, "", "answer is of another part"),
    ],
)
async def test_an_answer_of_another_part(
    server: Server, client: Client, status: int, content_range: str, said: str
) -> None:
    content = b"0123456789"

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=content[4:], headers={"Content-Range": content_range})

    blob = blob_of(content)
    server.handlers[f"GET a/blobs/{blob.digest}"] = answer
    with pytest.raises(RegistryError, match=said):
        await whole(client, server.name(), blob, Progress(offset=4, digest=hashlib.sha256(content[:4])))


async def test_more_than_was_promised(server: Server, client: Client) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"0123456789")
        return response

    blob = blob_of(b"012345678")
    server.handlers[f"GET a/blobs/{blob.digest}"] = answer
    with pytest.raises(RegistryError, match="more bytes than the 9 of its manifest"):
        await whole(client, server.name(), blob)


async def test_a_line_that_falls_silent_is_taken_up_again(server: Server) -> None:
    content = bytes(range(256)) * 4000

    async def answer(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(content[start : None if start else 300_000])
        if not start:
            await asyncio.sleep(30)
        return response

    blob = blob_of(content)
    server.handlers[f"GET a/blobs/{blob.digest}"] = answer
    async with Client(server.domain, Access(), silence=1) as client:
        assert await whole(client, server.name(), blob) == content
    assert len(server.asked) == 3  # /v2/ and two


async def test_an_empty_blob_is_not_asked_for(server: Server, client: Client) -> None:
    assert await whole(client, server.name(), blob_of(b"")) == b""
    assert not server.asked


async def test_a_manifest_that_breaks_off_is_fetched_again(server: Server, client: Client) -> None:
    content = json.dumps({"schemaVersion": 2, "manifests": []}).encode()

    async def answer(request: web.Request) -> web.StreamResponse:
        if server.asked.count("GET a/manifests/1") > 2:
            return web.Response(body=content)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:5])
        assert request.transport is not None
        request.transport.close()
        return response

    server.handlers["GET a/manifests/1"] = answer
    assert (await client.manifest(server.name())).content == content


async def test_what_a_name_stands_for_where_head_does_not_say_it(server: Server, client: Client) -> None:
    content = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    server.has("a/manifests/1", content)
    server.handlers["HEAD a/manifests/1"] = server.handlers["GET a/manifests/1"]
    assert (await client.describe(server.name())).digest == digest_of(content)


async def test_many_who_want_a_token_ask_once(server: Server, client: Client) -> None:
    async def token(_: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.json_response({"access_token": "t", "expires_in": 300})

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer t":
            return web.json_response({"schemaVersion": 2, "manifests": []})
        realm = f'Bearer realm="http://{server.domain}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    server.handlers |= {"GET a/manifests/1": answer, "GET /token": token}
    await asyncio.gather(*(client.manifest(server.name()) for _ in range(20)))
    assert server.asked.count("GET /token") == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"token": 7}'])
async def test_a_token_server_without_tokens(server: Server, client: Client, content: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        realm = f'Bearer realm="http://{server.domain}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    server.handlers["GET a/manifests/1"] = answer
    server.has("/token", content)
    with pytest.raises(RegistryError, match="answers with"):
        await client.manifest(server.name())


@pytest.mark.parametrize("location", ["", "ftp://127.0.0.1/", "https://[/"])
async def test_a_redirect_to_nowhere(server: Server, client: Client, location: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location} if location else {})

    server.handlers["GET a/manifests/1"] = answer
    with pytest.raises(RegistryError, match="redirects to"):
        await client.manifest(server.name())


async def test_a_redirect_in_a_circle(server: Server, client: Client) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.url)})

    server.handlers["GET a/manifests/1"] = answer
    with pytest.raises(RegistryError, match="redirects more than 10 times"):
        await client.manifest(server.name())


async def test_a_host_without_a_registry(server: Server, client: Client) -> None:
    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    server.handlers["GET "] = missing
    with pytest.raises(RegistryError, match=r"there is no registry at http://127.0.0.1:\d+/v2/: it answered 404"):
        await client.manifest(server.name())
