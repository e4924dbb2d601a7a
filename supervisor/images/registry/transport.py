"""One HTTP request, to wherever it is sent on: TLS by host, proxies, time limits, redirects."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import aiohttp
import anyio
from yarl import URL

from hawse.supervisor.core.errors import HawseError, RegistryError
from hawse.supervisor.images.registry import trust
from hawse.supervisor.images.registry.answers import Answer, Interrupted
from hawse.supervisor.images.registry.endpoints import Access
from hawse.supervisor.images.registry.retry import Patience
from hawse.supervisor.linux import threads

BROKEN = (aiohttp.ClientError, OSError)
"""What is raised when there is no answer, or no end of it; TimeoutError is an OSError."""
CONNECT_TIMEOUT = 15.0
SILENCE = 30.0
"""Seconds without a byte, after which a connection counts as broken."""
CHUNK = 256 << 10
MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_ANSWER_LIMIT = 64 << 10


class Transport:
    """The connections of one operation; an async context manager."""

    def __init__(self, access: Access, *, silence: float = SILENCE) -> None:
        self.access = access
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=CHUNK,
            headers={"User-Agent": "hawse", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: AsyncIterable[bytes] | bytes | Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Return the answer, whatever its status, as soon as its head is here; who calls closes it.

        Reads are redirected, ten times at most.  What proves who we are does not go along to another host, and nothing goes
        from https to http unless that host is insecure.  Raises one of BROKEN; RegistryError for a redirect to nowhere.
        """
        for _ in range(MOST_REDIRECTS):
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                ssl=await self._context(url),
                proxy=trust.proxy(url),
            )
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return response
            response.close()
            target = self._redirected(url, response.headers.get("Location", ""))
            if target.origin() != url.origin():
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise RegistryError(f"{url.origin()} redirects more than {MOST_REDIRECTS} times")

    def _redirected(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location, encoded=True))  # as it is: it may be signed
            allowed = (
                ("https", "http") if url.scheme == "http" or self.access.is_insecure(host_of(target)) else ("https",)
            )
        except ValueError as e:
            raise RegistryError(f"{url.origin()} redirects to nowhere: {_shown(location)}") from e
        if not location or target.scheme not in allowed or not target.host:
            raise RegistryError(
                f"{url.origin()} redirects to {_shown(location)}, which is not followed",
                hint="from https only to https; insecure_registries has the hosts that need none",
            )
        return target

    async def _context(self, url: URL) -> ssl.SSLContext | bool:
        """Made once for each host, in a thread: the system's authorities are read from a file."""
        if url.scheme != "https":
            return True
        host = host_of(url)
        if host not in self._contexts:
            insecure = self.access.is_insecure(host)
            self._contexts[host] = await threads.run_sync(
                lambda: trust.context(host, self.access.certificates, insecure=insecure)
            )
        return self._contexts[host]


def _shown(location: str) -> str:
    """Without what may be a signature."""
    return repr(location.partition("?")[0][:200])


def host_of(url: URL) -> str:
    """host[:port], as registries are named."""
    return url.authority.rpartition("@")[2]


async def beginning(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read an answer, and no more of it than that.  Raises one of BROKEN."""
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) >= most:
            break
    return bytes(read[:most])


async def refusal(response: aiohttp.ClientResponse) -> Answer:
    """Read what an error says, and close it."""
    async with response:
        try:
            body = await beginning(response, _ANSWER_LIMIT)
        except BROKEN:
            body = b""  # the status says enough
        return Answer(response.status, response.headers, body)


async def pause(patience: Patience, failure: HawseError, retry_after: str = "", *, passing: bool = True) -> None:
    """Wait for the next try.  Raises the failure when there is to be none."""
    wait = patience.delay(datetime.now(UTC), retry_after) if passing else None
    if wait is None:
        raise failure
    await anyio.sleep(wait)


def unreachable(url: URL, error: Exception) -> Interrupted:
    """Return the error that stands for one of BROKEN, in the words of Go's client where it has some."""
    host = host_of(url)
    what, hint = str(error) or type(error).__name__, ""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = f"tls: failed to verify certificate: {cause.verify_message}"
        hint = f"its authority's certificate goes to /etc/docker/certs.d/{host}/ca.crt"
    elif isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        what = "http: server gave HTTP response to HTTPS client"
        hint = f"if it is meant to have no TLS, insecure_registries has to name {host}"
    elif isinstance(error, TimeoutError):
        what = "it does not answer in time"
    elif isinstance(cause, socket.gaierror):
        what = f"lookup {url.host}: {'no such host' if cause.errno == socket.EAI_NONAME else cause.strerror}"
        hint = "is the name right? The daemon asks the resolvers of its machine, or a proxy that HTTPS_PROXY names"
    elif isinstance(cause, OSError) and (cause.errno or 0) > 0:
        what = os.strerror(cause.errno or 0)  # asyncio's own text names the call and not the reason
    return Interrupted(f'Get "{url.with_query(None)}": {what}', hint=hint)
