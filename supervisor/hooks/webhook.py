"""Deliveries of events to a URL: a POST of the CloudEvent, or of several, signed when there is a secret.

    Content-Type: application/cloudevents+json, or -batch+json with a list
    Hawse-Attempt: 1
    Hawse-Signature: sha256=<hex of HMAC-SHA256 over the body>

2xx is done; 410 is permanent; everything else, and no answer in time, is tried again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from pathlib import Path

import aiohttp
import anyio

from hawse.supervisor.hooks.execute import Outcome
from hawse.supervisor.hooks.hook import Hook
from hawse.supervisor.hooks.scan import open_checked

PERMANENT, LATER = 125, 75
MOST = 100  # events in one request
_SAID = 1024
_FILE_LIMIT = 1 << 20


class Ticket:
    """One event that waits for its request."""

    def __init__(self, document: bytes, attempt: int) -> None:
        self.document, self.attempt = document, attempt
        self.outcome: Outcome | None = None


class Batches:
    """What comes while a request is under way goes with the next one; nothing waits when none is.

    The dispatcher gives one event of a container at a time, so the events of a request are of different ones and their
    order is of no account.  All of them share its outcome.
    """

    def __init__(self) -> None:
        self._waiting: list[Ticket] = []
        self._turn = anyio.Lock()

    async def post(self, hook: Hook, document: bytes, attempt: int) -> Outcome:
        """Raises UserError or OSError for a file that cannot be read."""
        mine = Ticket(document, attempt)
        self._waiting.append(mine)
        try:
            async with self._turn:
                if mine.outcome is not None:
                    return mine.outcome
                batch = [ticket for ticket in self._waiting if ticket.outcome is None][:MOST]
                body = b"[%b]" % b",".join(ticket.document for ticket in batch)
                outcome = await _send(hook, body, "cloudevents-batch", max(ticket.attempt for ticket in batch))
                for ticket in batch:
                    ticket.outcome = outcome
                return outcome
        finally:
            self._waiting.remove(mine)


async def post(hook: Hook, document: bytes, attempt: int) -> Outcome:
    """Send one event.  Raises UserError or OSError for a file that cannot be read."""
    return await _send(hook, document, "cloudevents", attempt)


async def _send(hook: Hook, body: bytes, kind: str, attempt: int) -> Outcome:
    headers = {
        "Content-Type": f"application/{kind}+json; charset=utf-8",
        "Hawse-Attempt": str(attempt),
        "User-Agent": "hawse",
    }
    if hook.secret_file:
        headers["Hawse-Signature"] = signature(_read(hook.secret_file).strip(), body)
    url, timeout = hook.url, aiohttp.ClientTimeout(total=hook.timeout)
    try:
        connector: aiohttp.BaseConnector
        if url.startswith("unix://"):
            socket, _, path = url.removeprefix("unix://").partition(":")
            url, connector = f"http://localhost{path or '/'}", aiohttp.UnixConnector(socket)
        else:
            connector = aiohttp.TCPConnector(ssl=_trusting(hook.ca_file) if hook.ca_file else True)
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


def _trusting(path: str) -> ssl.SSLContext:
    """Trust those authorities and no others, the host's name checked.  Raises UserError or OSError."""
    return ssl.create_default_context(cadata=_read(path).decode())


def _read(path: str) -> bytes:
    """Raises UserError or OSError."""
    fd = open_checked(Path(path))
    try:
        return os.read(fd, _FILE_LIMIT)
    finally:
        os.close(fd)
