"""X-Registry-Auth, as clients send it."""

from __future__ import annotations

import base64
import json

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.registry import credentials
from hawse.supervisor.images.registry.credentials import NOBODY, Credentials


def header(fields: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def test_a_password() -> None:
    sent = {"username": "me", "password": "ÿ>?~", "email": "", "serveraddress": "localhost:5000"}
    expected = Credentials(username="me", password="ÿ>?~", server_address="localhost:5000")
    urlsafe = base64.urlsafe_b64encode(json.dumps(sent, ensure_ascii=False).encode()).decode()
    assert "-" in urlsafe or "_" in urlsafe
    for form in (urlsafe, urlsafe.rstrip("="), urlsafe.replace("-", "+").replace("_", "/")):
        assert credentials.parse(form) == expected
    assert expected.basic == f"Basic {base64.b64encode('me:ÿ>?~'.encode()).decode()}"


def test_tokens() -> None:
    assert credentials.parse(header({"identitytoken": "a"})) == Credentials(identity_token="a")
    assert credentials.parse(header({"registrytoken": "b"})) == Credentials(registry_token="b")


@pytest.mark.parametrize("sent", ["", "e30=", "e30"])
def test_nobody(sent: str) -> None:
    assert credentials.parse(sent) == NOBODY
    assert not NOBODY


@pytest.mark.parametrize("sent", ["%", "a", "bm8=", header([]), header({"username": 7}), "ä"])
def test_what_cannot_be_read_is_not_repeated(sent: str) -> None:
    with pytest.raises(UserError) as e:
        credentials.parse(sent)
    assert str(e.value).startswith("X-Registry-Auth cannot be read (base64url of")


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials(username="me", password="s1", identity_token="s2", registry_token="s3"))
    assert "me" in shown and "s1" not in shown and "s2" not in shown and "s3" not in shown
