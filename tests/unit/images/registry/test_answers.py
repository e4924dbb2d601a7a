"""A registry's refusals, in docker's sentences."""

from __future__ import annotations

import json

import pytest

from hawse.supervisor.core.errors import HawseError, NotFound, RegistryError, Unauthorized
from hawse.supervisor.images.registry.answers import Answer, Asked, Interrupted, error

PULL = Asked(registry="r.example.org", repository="r.example.org/a", manifest="r.example.org/a:1")
BLOB = Asked(registry="r.example.org", repository="r.example.org/a", blob="sha256:00")
PUSH = Asked(registry="r.example.org", repository="r.example.org/a", pushing=True)
LOGIN = Asked(registry="r.example.org")


def answer(status: int, code: str = "", message: str = "", **headers: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode() if code else b"<html>"
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("got", "asked", "known", "kind", "said"),
    [
        (
            *(answer(404, "MANIFEST_UNKNOWN", "manifest unknown"), PULL, False, NotFound),
            "manifest for r.example.org/a:1 not found: manifest unknown: manifest unknown "
            "(r.example.org answered 404 for r.example.org/a)",
        ),
        (
            *(answer(404, "NAME_UNKNOWN", "no such thing"), PULL, False, NotFound),
            "repository r.example.org/a not found: name unknown: no such thing "
            "(r.example.org answered 404 for r.example.org/a)",
        ),
        (
            *(answer(401, "UNAUTHORIZED", "authentication required"), PULL, False, NotFound),
            "pull access denied for r.example.org/a, repository does not exist or may require 'docker login': "
            "unauthorized: authentication required "
            "(r.example.org answered 401 for r.example.org/a; check the name, or log in to r.example.org)",
        ),
        (
            *(answer(401), PULL, True, Unauthorized),
            "unauthorized: incorrect username or password "
            "(r.example.org answered 401 for r.example.org/a; log in to r.example.org)",
        ),
        (
            *(answer(403, "DENIED", "requested access to the resource is denied"), PUSH, True, Unauthorized),
            "denied: requested access to the resource is denied (r.example.org answered 403 for r.example.org/a; "
            "log in to r.example.org as somebody who may push there)",
        ),
        (
            *(answer(403), LOGIN, True, Unauthorized),
            "unauthorized: authentication required (r.example.org answered 403)",
        ),
        (
            *(answer(404), BLOB, False, RegistryError),
            "blob unknown to registry: sha256:00 (r.example.org answered 404 for r.example.org/a)",
        ),
        (
            *(answer(429, Retry_After="7", RateLimit_Remaining="0;w=21600"), PULL, False, Interrupted),
            "toomanyrequests: too many requests (r.example.org answered 429 for r.example.org/a; Retry-After is 7; "
            "0;w=21600 requests are left; log in, or set registry_mirrors)",
        ),
        (
            *(answer(500, "UNKNOWN", "a\nb" + "c" * 500), LOGIN, False, Interrupted),
            f"received unexpected HTTP status: 500: a b{'c' * 397} (r.example.org answered 500)",
        ),
        (answer(418), LOGIN, False, RegistryError, "received unexpected HTTP status: 418 (r.example.org answered 418)"),
    ],
)
def test_sentences(got: Answer, asked: Asked, known: bool, kind: type[HawseError], said: str) -> None:
    found = error(got, asked, known=known)
    assert type(found) is kind
    assert str(found) == said


@pytest.mark.parametrize("body", [b"", b"[]", b'{"errors": 1}', b"\xff", b"[" * 100_000, b'{"errors": null}'])
def test_a_body_that_says_nothing(body: bytes) -> None:
    assert (
        str(error(Answer(500, {}, body), LOGIN)) == "received unexpected HTTP status: 500 (r.example.org answered 500)"
    )
