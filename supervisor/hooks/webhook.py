"""One delivery of an event to a URL: a POST of the CloudEvent, signed when there is a secret.

    Content-Type: application/cloudevents+json, or -batch+json with a list of one
    Hawse-Attempt: 1
    Hawse-Signature: sha256=<hex of HMAC-SHA256 over the body>

2xx is done; 410 is permanent; everything else, and no answer in time, is tried again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import aiohttp

from hawse.supervisor.hooks.execute import Outcome
from hawse.supervisor.hooks.hook import Hook
from hawse.supervisor.hooks.scan import open_checked

PERMANENT, LATER = 125, 75
_SAID = 1024


async def post(hook: Hook, document: bytes, attempt: int) -> Outcome:
    """Never raises but for a secret that cannot be read."""
    body = b"[%b]" % document if hook.batch else document
    kind = "cloudevents-batch" if hook.batch else "cloudevents"
    headers = {
        "Content-Type": f"application/{kind}+json; charset=utf-8",
        "Hawse-Attempt": str(attempt),
        "User-Agent": "hawse",
    }
    if hook.secret_file:
        headers["Hawse-Signature"] = signature(_secret(Path(hook.secret_file)), body)
    url, connector = hook.url, None
    if url.startswith("unix://"):
        socket, _, path = url.removeprefix("unix://").partition(":")
        url, connector = f"http://localhost{path or '/'}", aiohttp.UnixConnector(socket)
    timeout = aiohttp.ClientTimeout(total=hook.timeout)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            said = (await response.content.read(_SAID)).decode(errors="replace").strip()
    except TimeoutError:
        return Outcome(code=LATER, timed_out=True)
    except (aiohttp.ClientError, OSError, ValueError) as e:
        return Outcome(code=LATER, output=f"{type(e).__name__}: {e}")
    output = f"HTTP {response.status} {said}".strip()
    if 200 <= response.status < 300:
        return Outcome(code=0, output=output)
    return Outcome(code=PERMANENT if response.status == 410 else LATER, output=output)


def signature(secret: bytes, body: bytes) -> str:
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def _secret(path: Path) -> bytes:
    """Raises UserError or OSError."""
    fd = open_checked(path)
    try:
        return os.read(fd, 4096).strip()
    finally:
        os.close(fd)
