"""A client's requests to one registry: found at the first of its URLs that answers, with authorization, tried again."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Collection, Mapping

import aiohttp
import anyio
from yarl import URL

from hawse.supervisor.core.errors import HawseError, RegistryError
from hawse.supervisor.images.registry import challenge
from hawse.supervisor.images.registry.answers import Answer, Asked, error
from hawse.supervisor.images.registry.credentials import Credentials
from hawse.supervisor.images.registry.endpoints import Endpoint
from hawse.supervisor.images.registry.retry import Patience
from hawse.supervisor.images.registry.tokens import Tokens
from hawse.supervisor.images.registry.transport import BROKEN, Transport, pause, refusal, unreachable

Body = Callable[[], AsyncIterable[bytes] | bytes]
"""Made anew for each try."""


class Session:
    """Whoever has it asks by paths below /v2/ or by URLs that the registry gave."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self.registry, self._urls, self._transport = endpoint.registry, endpoint.urls, transport
        self.tokens = Tokens(transport, endpoint.registry, credentials)
        self._base: URL | None = None
        self._turn = anyio.Lock()

    async def open(
        self,
        method: str,
        where: str | URL,
        asked: Asked,
        *,
        scope: str = "",
        expected: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        patience: Patience | None = None,
    ) -> aiohttp.ClientResponse:
        """Return the answer when its status is one of those expected, with its body to be read; who calls closes it.

        Tried again as long as there is `patience`.  Raises Interrupted when that is at its end; NotFound, Unauthorized or
        RegistryError for what no other try can mend.
        """
        patience = patience or Patience()
        base = await self.base()
        url = where if isinstance(where, URL) else URL(f"{base}{where}", encoded=True)
        while True:
            retry_after, failure, passing = "", None, True
            try:
                response = await self._authorized(method, url, scope, headers or {}, body)
                if response.status in expected:
                    return response
                answer = await refusal(response)
                failure = error(answer, asked, known=self.tokens.are_passwords)
                retry_after, passing = answer.retry_after, answer.is_passing
            except BROKEN as e:
                failure = unreachable(url, e)
            await pause(patience, failure, retry_after, passing=passing)

    async def base(self) -> URL:
        """Return the URL that all paths are below, and learn there how to say who we are.

        Raises Interrupted when no URL of the registry can be reached: that is not waited for.
        """
        async with self._turn:
            if self._base is None:
                self._base = await self._found()
            return self._base

    def url(self, location: str) -> URL:
        """A URL that the registry gave, perhaps without a host; where it only forgets its own TLS, with it.

        A proxy in front of a registry often ends the TLS, and the registry does not know.
        """
        assert self._base is not None
        target = self._base.join(URL(location, encoded=True))
        if target.scheme == "http" and self._base.scheme == "https" and target.host == self._base.host:
            return self._base.join(target.relative())
        return target

    async def _authorized(
        self, method: str, url: URL, scope: str, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        """Send one request, and once more when what we are known by has come to its end.

        Raises one of BROKEN.
        """
        assert self._base is not None
        own = url.origin() == self._base.origin()
        sent = await self.tokens.authorization(scope) if own else ""
        response = await self._send(method, url, sent, headers, body)
        if response.status != 401 or not own:
            return response
        self.tokens.learn(challenge.parse(response.headers.getall("WWW-Authenticate", ())))
        renewed = await self.tokens.authorization(scope, refused=sent)
        if renewed in ("", sent):
            return response
        response.close()
        return await self._send(method, url, renewed, headers, body)

    async def _send(
        self, method: str, url: URL, authorization: str, headers: Mapping[str, str], body: Body | None
    ) -> aiohttp.ClientResponse:
        if authorization:
            headers = {**headers, "Authorization": authorization}
        return await self._transport.send(method, url, headers=headers, data=body() if body else None)

    async def _found(self) -> URL:
        failures: list[HawseError] = []
        for text in self._urls:
            base = URL(f"{text}/v2/")
            patience = Patience()
            while True:
                try:
                    answer = await refusal(await self._transport.send("GET", base, headers={}))
                except BROKEN as e:
                    failures.append(unreachable(base, e))
                    break
                if answer.status in (200, 401):
                    self.tokens.learn(challenge.parse(_all(answer, "WWW-Authenticate")))
                    return base
                await pause(patience, self._no_registry(answer, base), answer.retry_after, passing=answer.is_passing)
        raise failures[0]  # without TLS it was only tried because it could not be had with TLS

    def _no_registry(self, answer: Answer, base: URL) -> HawseError:
        if answer.status == 404:
            return RegistryError(f"there is no registry at {base}: it answered 404", hint="check the host and its port")
        return error(answer, Asked(registry=self.registry))


def _all(answer: Answer, name: str) -> list[str]:
    return [value for header, value in answer.headers.items() if header.lower() == name.lower()]
