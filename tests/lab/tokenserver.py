"""`python -m tests.lab.tokenserver PORT`: gives tokens as for Docker's own registry, to the user tester or to anybody.

GET with a password or none, POST with an identity token (the answer to `offline_token`).  A wrong password is refused.
GET /log tells what was asked, and forgets it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import sys
import time
from typing import Any

from aiohttp import web

USER, PASSWORD, IDENTITY = "tester", "secret", "identity-of-tester"
_KEY = b"lab"
_log: list[dict[str, Any]] = []


def made() -> str:
    now = f"{time.time():.3f}"
    return f"{now}-{hmac.digest(_KEY, now.encode(), 'sha256').hex()}"


def is_valid(token: str, *, life: float) -> bool:
    """It is one of ours, and no older."""
    now, _, proof = token.partition("-")
    genuine = hmac.compare_digest(proof, hmac.digest(_KEY, now.encode(), "sha256").hex())
    return genuine and time.time() - float(now) < life


async def handle(request: web.Request) -> web.Response:
    if request.path == "/log":
        told, _log[:] = list(_log), []
        return web.json_response(told)
    form = dict(await request.post())
    wanted = {key: request.query.getall(key) for key in request.query}
    password = request.headers.get("Authorization", "").removeprefix("Basic ")
    _log.append({"method": request.method, "query": wanted, "form": sorted(form), "password": bool(password)})
    right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if (password and password != right) or (request.method == "POST" and form.get("refresh_token") != IDENTITY):
        return web.json_response({"details": "incorrect username or password"}, status=401)
    answer: dict[str, Any] = {"token": made(), "expires_in": 300, "issued_at": "2000-01-01T00:00:00Z"}
    if request.method == "POST":
        answer["access_token"] = answer.pop("token")
    if "offline_token" in request.query:
        answer["refresh_token"] = IDENTITY
    return web.json_response(answer)


async def main() -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
