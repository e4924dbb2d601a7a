"""What a registry's refusals mean, as errors in docker's words.  Pure.

Scripts match docker's sentences (moby's distribution/errors.go, read 2026-08), so they come first; the hint has which registry,
which repository and which status, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from hawse.supervisor.core.errors import HawseError, NotFound, RegistryError, Unauthorized
from hawse.supervisor.images.registry.retry import is_passing

LONGEST_SAID = 400
"""Of what a registry says, the characters that are repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is about, as people name it: a registry, a repository, and a manifest or a blob of that."""

    registry: str
    repository: str = ""
    manifest: str = ""
    blob: str = ""
    pushing: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that is no success, the headers, and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_passing(self) -> bool:
        return is_passing(self.status)

    @property
    def retry_after(self) -> str:
        return self.headers.get("Retry-After", "")


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    """distribution-spec's form; token servers have their own, `details` or `error_description`."""

    errors: list[_Error] = []
    details: str = ""
    error_description: str = ""


class Interrupted(RegistryError):
    """A connection broke, or the registry had no time: the same request may succeed later."""


def error(answer: Answer, asked: Asked, *, known: bool = False) -> HawseError:
    """Return the error that such an answer is; `known` is that it is about a name and a password that were sent."""
    code, message = _said(answer)
    where = f"{asked.registry} answered {answer.status}{f' for {asked.repository}' if asked.repository else ''}"
    if answer.status == 429 or code == "TOOMANYREQUESTS":
        return _too_many(answer, message, where, known)
    if answer.status in (401, 403) or code in ("UNAUTHORIZED", "DENIED"):
        return _refused(answer, code, message, where, asked, known)
    if answer.status == 404 and code == "NAME_UNKNOWN":
        return NotFound(f"repository {asked.repository} not found: name unknown: {message}", hint=where)
    if answer.status == 404 and asked.manifest:
        unknown = message or "manifest unknown"
        return NotFound(f"manifest for {asked.manifest} not found: manifest unknown: {unknown}", hint=where)
    if answer.status == 404 and asked.blob:
        return RegistryError(f"blob unknown to registry: {asked.blob}", hint=where)
    kind = Interrupted if answer.is_passing else RegistryError
    return kind(f"received unexpected HTTP status: {answer.status}{f': {message}' if message else ''}", hint=where)


def _said(answer: Answer) -> tuple[str, str]:
    """(code in capitals, sentence) of what the registry itself says; "" where it says nothing that can be read."""
    try:
        read = msgspec.json.decode(answer.body, type=_Errors)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", ""
    first = read.errors[0] if read.errors else _Error(message=read.details or read.error_description)
    return first.code.upper(), " ".join(first.message.split())[:LONGEST_SAID]


def _refused(answer: Answer, code: str, message: str, where: str, asked: Asked, known: bool) -> HawseError:
    if answer.status == 401 and known:
        return Unauthorized("unauthorized: incorrect username or password", hint=f"{where}; log in to {asked.registry}")
    if not asked.repository:
        return Unauthorized(f"unauthorized: {message or 'authentication required'}", hint=where)
    reason = f"{code.lower() or 'denied'}: {message or 'requested access to the resource is denied'}"
    if asked.pushing:
        return Unauthorized(reason, hint=f"{where}; log in to {asked.registry} as somebody who may push there")
    return NotFound(
        f"pull access denied for {asked.repository}, repository does not exist or may require 'docker login': {reason}",
        hint=f"{where}; check the name, or log in to {asked.registry}",
    )


def _too_many(answer: Answer, message: str, where: str, known: bool) -> RegistryError:
    facts = [where]
    if answer.retry_after:
        facts.append(f"Retry-After is {answer.retry_after[:40]}")
    if left := answer.headers.get("RateLimit-Remaining"):
        facts.append(f"{left[:40]} requests are left")
    facts.append("set registry_mirrors" if known else "log in, or set registry_mirrors")
    return Interrupted(f"toomanyrequests: {message or 'too many requests'}", hint="; ".join(facts))
