"""`python -m tests.lab.faultproxy PORT UPSTREAM [REALM]`: a registry that fails as it is asked to, in front of one that works.

The first part of a repository's name is the fault: /v2/cut-2048/t/deb/... is /v2/t/deb/... of UPSTREAM, whose blobs end after
2048 KiB.  So one proxy serves all tests at once.  GET /log tells what was asked and how many bytes of it were served, and
forgets it.

    ok                 none
    cut-N              every answer with a blob ends after N KiB, Range honoured
    cutonce-N          the first answer with each blob does
    norange-N          no Range, and every answer with a blob ends after N KiB; 0 is never
    flip               one bit of each blob is another
    short              a blob's Content-Length is half of what it is
    limited, limited-N 429 for manifests: always; twice, with Retry-After: N
    failing-N          500 for each blob N times; failing: always 503
    huge               the manifest has 100 MB
    otherdigest        Docker-Content-Digest is of something else
    redirect           blobs are at another host
    cutpush-N          the first upload to each repository ends after N KiB
    private, brief     wants a token of REALM; its tokens live for a second, whatever they say
    unsafe             wants a token of a realm without TLS that is not ours
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, web
from yarl import URL

from tests.lab import tokenserver

ELSEWHERE = "127.0.0.2"
KEPT = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Docker-Content-Digest",
    "Location",
    "Range",
    "Link",
    "Docker-Upload-Uuid",
)
SENT = ("Accept", "Range", "Content-Type", "Content-Length", "Content-Range")


class Proxy:
    """Counts how often each thing was asked for, and keeps the log."""

    def __init__(self, port: int, upstream: str, realm: str, session: ClientSession) -> None:
        self.port, self.upstream, self.realm, self.session = port, upstream, realm, session
        self.log: list[dict[str, Any]] = []
        self.asked: Counter[tuple[str, str]] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/log":
            log, self.log = self.log, []
            return web.json_response(log)
        if request.path == "/v2/":
            return web.json_response({})
        if request.path.startswith("/elsewhere/"):
            return await self.forward(request, "redirected", 0, request.path.removeprefix("/elsewhere/"))
        fault, _, rest = request.path.removeprefix("/v2/").partition("/")
        name, _, number = fault.partition("-")
        self.asked[fault, f"{request.method} {rest}"] += 1
        return self.refused(request, name, number, rest, self.asked[fault, f"{request.method} {rest}"]) or (
            await self.forward(request, name, int(number or 0), rest)
        )

    def refused(self, request: web.Request, name: str, number: str, rest: str, time: int) -> web.Response | None:
        """The answer that UPSTREAM has no part in."""
        blob, manifest = "/blobs/sha256:" in rest, "/manifests/" in rest
        if name in ("private", "brief", "unsafe"):
            realm = "http://192.0.2.1/token" if name == "unsafe" else self.realm
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not tokenserver.is_valid(token, life=1 if name == "brief" else 300):
                scope = f"repository:{name}/{rest.partition('/blobs/')[0].partition('/manifests/')[0]}:pull"
                wanted = f'Bearer realm="{realm}",service="lab",scope="{scope}"'
                return self.problem(request, 401, "UNAUTHORIZED", {"WWW-Authenticate": wanted})
        if manifest and name == "limited" and (not number or time <= 2):
            return self.problem(request, 429, "TOOMANYREQUESTS", {"Retry-After": number} if number else {})
        if blob and name == "failing" and (not number or time <= int(number)):
            return self.problem(request, 500 if number else 503, "UNKNOWN", {})
        if manifest and name == "huge":
            return web.Response(body=b" " * 100_000_000, content_type="application/json")
        if blob and name == "redirect":
            self.note(request, 0)
            location = f"http://{ELSEWHERE}:{self.port}/elsewhere/{rest}?signed=a%2Fb%3D%3D"
            return web.Response(status=307, headers={"Location": location})
        return None

    def problem(self, request: web.Request, status: int, code: str, headers: dict[str, str]) -> web.Response:
        self.note(request, 0)
        return web.json_response({"errors": [{"code": code, "message": "so it is"}]}, status=status, headers=headers)

    def note(self, request: web.Request, served: int) -> None:
        asked = {"method": request.method, "path": request.path, "query": request.raw_path.partition("?")[2]}
        had = {"range": request.headers.get("Range", ""), "authorized": "Authorization" in request.headers}
        self.log.append({**asked, **had, "host": request.host, "served": served})

    async def forward(self, request: web.Request, name: str, number: int, rest: str) -> web.StreamResponse:
        headers = {key: ", ".join(request.headers.getall(key)) for key in SENT if key in request.headers}
        blob = "/blobs/sha256:" in rest and request.method == "GET"
        if name == "norange":
            headers.pop("Range", None)
        time = self.asked[f"{name}-{number}", f"{request.method} {rest}"]
        repository = rest.partition("/blobs/uploads/")[0]
        limit = number << 10 if blob and (name in ("cut", "norange") or (name == "cutonce" and time == 1)) else 0
        cut = 0
        if name == "cutpush" and request.method == "PATCH":
            self.asked[name, repository] += 1
            cut = number << 10 if self.asked[name, repository] == 1 else 0
        url = URL(f"{self.upstream}/v2/{rest}?{request.raw_path.partition('?')[2]}", encoded=True)
        body = self.body(request, cut) if request.can_read_body else None
        served = 0
        try:
            async with self.session.request(request.method, url, headers=headers, data=body) as answer:
                told = {key: answer.headers[key] for key in KEPT if key in answer.headers}
                if location := told.get("Location", ""):
                    fault = request.path.split("/")[2]
                    told["Location"] = location.replace("/v2/", f"/v2/{fault}/", 1)
                if blob and name == "short":
                    told["Content-Length"] = str(int(told["Content-Length"]) // 2)
                if name == "otherdigest":
                    told["Docker-Content-Digest"] = f"sha256:{'0' * 64}"
                response = web.StreamResponse(status=answer.status, headers=told)
                await response.prepare(request)
                async for chunk in answer.content.iter_chunked(64 << 10):
                    if blob and name == "flip" and not served:
                        chunk = chunk[:40] + bytes([chunk[40] ^ 1]) + chunk[41:]
                    piece = chunk[: limit - served] if limit else chunk
                    served += len(piece)
                    await response.write(piece)
                    if (limit and served == limit) or (blob and name == "short"):
                        self.close(request)
                        break
                else:
                    await response.write_eof()
                return response
        except ConnectionError:
            self.close(request)
            raise
        finally:
            self.note(request, served)

    async def body(self, request: web.Request, cut: int) -> AsyncIterator[bytes]:
        passed = 0
        async for chunk in request.content.iter_chunked(64 << 10):
            yield chunk
            passed += len(chunk)
            if cut and passed >= cut:
                self.close(request)
                raise ConnectionResetError

    def close(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.close()


async def main() -> None:
    port, upstream, realm = int(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [""])[0]
    async with ClientSession(auto_decompress=False) as session:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", Proxy(port, upstream, realm, session).handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        for address in ("127.0.0.1", ELSEWHERE):
            await web.TCPSite(runner, address, port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
