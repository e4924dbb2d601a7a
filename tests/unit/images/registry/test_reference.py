"""Image names: pure functions with Docker's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.registry import reference

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1.36", "busybox:1.36"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("index.docker.io/library/busybox:1", "busybox:1"),
        ("library/busybox", "busybox:latest"),
        ("me/app", "me/app:latest"),
        ("docker.io/me/app", "me/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry.example.org:443/a/b/c:X_y.z-1", "registry.example.org:443/a/b/c:X_y.z-1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("a__b/c-d.e", "a__b/c-d.e:latest"),
        ("library/a/b", "library/a/b:latest"),
        ("docker.io/localhost/app", "docker.io/localhost/app:latest"),
        (f"busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        (f"localhost:5000/a/b@{DIGEST}", f"localhost:5000/a/b@{DIGEST}"),
    ],
)
def test_names(text: str, stored: str) -> None:
    parsed = reference.parse(text)
    assert str(parsed) == stored
    assert reference.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        "-a",
        "a-",
        "a//b",
        "/a",
        "a/",
        "a:b:c",
        "a b",
        "a:t t",
        "a:.t",
        "a" * 256,
        "a\n",
        "ä",
        "a@sha256:00",
        f"a@{DIGEST}0",
        f"a@{DIGEST.upper()}",
        f"a@{DIGEST}@{DIGEST}",
        f"@{DIGEST}",
        "a@sha512:" + "0" * 128,
        "a@",
    ],
)
def test_bad_names(text: str) -> None:
    with pytest.raises(UserError, match="invalid reference format"):
        reference.parse(text)


def test_names_in_capitals() -> None:
    with pytest.raises(UserError, match=r"repository name \(Busybox\) must be lowercase"):
        reference.parse("Busybox")


def test_an_id_is_no_name() -> None:
    with pytest.raises(UserError, match="64-byte hexadecimal"):
        reference.parse("ab" * 32)
    assert reference.may_be_id("ab" * 32) and reference.may_be_id("sha256:ab1") and reference.may_be_id("f")
    assert not reference.may_be_id("busybox") and not reference.may_be_id("sha256:") and not reference.may_be_id("f\n")


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_a_users_error(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except UserError:
        return
    assert reference.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("busybox", ("docker.io", "library/busybox", "latest")),
        ("index.docker.io/busybox:1", ("docker.io", "library/busybox", "1")),
        ("me/app", ("docker.io", "me/app", "latest")),
        ("docker.io/localhost/app", ("docker.io", "localhost/app", "latest")),
        ("library/a/b", ("docker.io", "library/a/b", "latest")),
        ("localhost:5000/app", ("localhost:5000", "app", "latest")),
        ("localhost/library/app", ("localhost", "library/app", "latest")),
        (f"ghcr.io/a/b:1@{DIGEST}", ("ghcr.io", "a/b", DIGEST)),
    ],
)
def test_what_a_registry_is_asked_for(text: str, asked: tuple[str, str, str]) -> None:
    parsed = reference.parse(text)
    assert (parsed.domain, parsed.path, parsed.target) == asked


def test_a_digest_is_not_given_as_a_name() -> None:
    with pytest.raises(UserError, match="refusing to create a tag with a digest reference"):
        reference.parse_new_name(f"a@{DIGEST}")
