"""What a registry's WWW-Authenticate asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.images.registry import challenge
from hawse.supervisor.images.registry.challenge import Challenge

BEARER = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (
            [BEARER],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (['Basic realm="a, b"'], [Challenge("basic", {"realm": "a, b"})]),
        (["basic REALM=x , charset = UTF-8"], [Challenge("basic", {"realm": "x", "charset": "UTF-8"})]),
        (
            ['Basic realm="x", Bearer realm="y", service=z'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "service": "z"})],
        ),
        (["Negotiate", "Basic"], [Challenge("negotiate"), Challenge("basic")]),
        ([r'Basic realm="say \"x\""'], [Challenge("basic", {"realm": 'say "x"'})]),
        (["", ",", "=", 'realm="x"'], []),
    ],
)
def test_challenges(headers: list[str], found: list[Challenge]) -> None:
    assert challenge.parse(headers) == found


def test_a_token_is_preferred_to_a_password() -> None:
    chosen = challenge.preferred(challenge.parse(['Basic realm="x"', BEARER, "Negotiate abc=="]))
    assert chosen is not None and chosen.scheme == "bearer"
    assert challenge.preferred(challenge.parse(["Negotiate abc=="])) is None


@given(st.text())
def test_any_header_can_be_read(header: str) -> None:
    challenge.parse([header])
