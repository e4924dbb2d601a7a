"""Who we are at a registry, as the value of Authorization: a password, or tokens that its token server gives for it.

distribution's specification of token authentication (by GET) and of OAuth2 (by POST).  A token is for a scope, and is kept
until shortly before it ends; one that the registry refuses all the same is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import anyio
import msgspec
from yarl import URL

from hawse.supervisor.core.errors import HawseError, RegistryError
from hawse.supervisor.images.registry.answers import Answer, Asked, error
from hawse.supervisor.images.registry.challenge import Challenge, preferred
from hawse.supervisor.images.registry.credentials import Credentials
from hawse.supervisor.images.registry.retry import Patience
from hawse.supervisor.images.registry.transport import (
    BROKEN,
    Transport,
    beginning,
    host_of,
    pause,
    refusal,
    unreachable,
)

CLIENT = "hawse"
USUAL_LIFE = 60.0
"""Seconds, of a token that does not say it."""
MARGIN = 5.0
"""Seconds before its end when a token is not used any more."""
_ANSWER_LIMIT = 1 << 20


class _Issued(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float = USUAL_LIFE
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until: float


class Tokens:
    """What one client sends to one registry.

    `clock` counts seconds, as time.monotonic: what a token server's own clock shows is not asked.
    """

    def __init__(
        self,
        transport: Transport,
        registry: str,
        credentials: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._registry, self._credentials, self._clock = transport, registry, credentials, clock
        self._challenge: Challenge | None = None
        self._kept: dict[str, _Token] = {}
        self._turn = anyio.Lock()  # many layers want one token

    @property
    def are_passwords(self) -> bool:
        """The registry itself looks at the password; otherwise it sees what a token server made of it."""
        return self._challenge is not None and self._challenge.scheme == "basic" and bool(self._credentials)

    def learn(self, challenges: Iterable[Challenge]) -> None:
        """The registry says what it wants, as a rule in answer to the first request."""
        self._challenge = preferred(challenges) or self._challenge

    async def authorization(self, scope: str, *, refused: str = "") -> str:
        """Return what to send for that scope; "" is nothing.  `refused` is what it was and did not do.

        Raises Unauthorized for credentials that the token server does not know; RegistryError when it does not serve.
        """
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            return self._credentials.basic if self._credentials.username else ""
        async with self._turn:
            kept = self._kept.get(scope)
            if kept is None or kept.value == refused or kept.until <= self._clock():
                issued = await self._ask(self._challenge, scope)
                until = self._clock() + max(0.0, issued.expires_in - MARGIN)
                kept = self._kept[scope] = _Token(f"Bearer {issued.token or issued.access_token}", until)
            return kept.value

    async def identity(self) -> str:
        """Return a token that stands for the password from now on; "" where the registry has none.  Raises as above."""
        if self._challenge is None or self._challenge.scheme != "bearer":
            return ""
        return (await self._ask(self._challenge, "", offline=True)).refresh_token

    async def _ask(self, challenge: Challenge, scope: str, *, offline: bool = False) -> _Issued:
        """By GET with the password, or by POST with an identity token, which is what OAuth2 calls a refresh token."""
        realm = self._realm(challenge)
        fields = [("service", challenge.parameters.get("service", "")), *(("scope", each) for each in scope.split())]
        fields = [(name, value) for name, value in fields if value]
        identity = self._credentials.identity_token
        if identity:
            form = {"grant_type": "refresh_token", "refresh_token": identity, "client_id": CLIENT, **dict(fields)}
            return await self._exchange("POST", realm, form={**form, "scope": scope})
        if self._credentials:
            fields.append(("account", self._credentials.username))
        if offline:
            fields += [("offline_token", "true"), ("client_id", CLIENT)]
        return await self._exchange("GET", realm.update_query([*realm.query.items(), *fields]))

    async def _exchange(self, method: str, url: URL, form: dict[str, str] | None = None) -> _Issued:
        headers = {"Authorization": self._credentials.basic} if self._credentials.username and not form else {}
        patience = Patience()
        while True:
            retry_after, passing = "", True
            try:
                response = await self._transport.send(method, url, headers=headers, data=form)
                if response.status == 200:
                    async with response:
                        return _issued(await beginning(response, _ANSWER_LIMIT), url)
                answer = await refusal(response)
                failure, retry_after, passing = self._refused(answer), answer.retry_after, answer.is_passing
            except BROKEN as e:
                failure = unreachable(url, e)
            await pause(patience, failure, retry_after, passing=passing)

    def _realm(self, challenge: Challenge) -> URL:
        """Raises RegistryError for a token server to which no password may be told."""
        try:
            url = URL(challenge.realm)
            plain = url.scheme == "http" and self._transport.access.is_insecure(host_of(url))
        except ValueError:
            url, plain = URL(), False
        if url.host and (url.scheme == "https" or plain):
            return url
        raise RegistryError(
            f"{self._registry} names the token server {challenge.realm[:200]!r}, which is not asked",
            hint="it has to be an https URL; insecure_registries has the hosts that need no TLS",
        )

    def _refused(self, answer: Answer) -> HawseError:
        known = bool(self._credentials)
        if known and answer.status in (400, 401, 403) and not answer.is_passing:
            answer = Answer(401, answer.headers, answer.body)
        return error(answer, Asked(registry=f"the token server of {self._registry}"), known=known)


def _issued(body: bytes, url: URL) -> _Issued:
    try:
        issued = msgspec.json.decode(body, type=_Issued)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RegistryError(f"the token server {url.origin()} answers with no token: {e}") from e
    if not (issued.token or issued.access_token):
        raise RegistryError(f"the token server {url.origin()} answers without a token")
    return issued
