"""Where a registry is looked for, and whom TLS trusts there."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from yarl import URL

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.registry import trust
from hawse.supervisor.images.registry.endpoints import Access, domain_of, endpoints

ACCESS = Access(mirrors=("https://a.example.org/", "http://b:5000"), insecure=("lan:5000", "10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("domain", "urls"),
    [
        ("docker.io", [("https://a.example.org",), ("http://b:5000",), ("https://registry-1.docker.io",)]),
        ("ghcr.io", [("https://ghcr.io",)]),
        ("lan:5000", [("https://lan:5000", "http://lan:5000")]),
        ("lan", [("https://lan",)]),
    ],
)
def test_urls(domain: str, urls: list[tuple[str, ...]]) -> None:
    assert [endpoint.urls for endpoint in endpoints(domain, ACCESS)] == urls


def test_nothing_is_pushed_to_a_mirror() -> None:
    assert [endpoint.is_mirror for endpoint in endpoints("docker.io", ACCESS)] == [True, True, False]


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.8.9.1:5000", True),
        ("[::1]:5000", True),
        ("10.1.2.3", True),
        ("[fd00::1]:5000", True),
        ("lan:5000", True),
        ("lan:5001", False),
        ("11.0.0.1", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_hosts_that_need_no_tls(host: str, insecure: bool) -> None:
    assert ACCESS.is_insecure(host) is insecure


@pytest.mark.parametrize(
    ("server", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_what_a_login_is_for(server: str, domain: str) -> None:
    assert domain_of(server) == domain


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("me.cert",), "missing key .*me.key for client certificate"),
        (("me.key",), "missing client certificate .*me.cert for key"),
        (("ca.crt",), "ca.crt: cannot be used for lan:5000"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    (tmp_path / "lan:5000").mkdir()
    for name in files:
        (tmp_path / "lan:5000" / name).write_text("nothing")
    with pytest.raises(UserError, match=said):
        trust.context("lan:5000", tmp_path, insecure=False)


def test_certificates_are_looked_at_unless_they_need_not_be(tmp_path: Path) -> None:
    strict, lenient = (trust.context("lan", tmp_path, insecure=insecure) for insecure in (False, True))
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (lenient.verify_mode, lenient.check_hostname) == (ssl.CERT_NONE, False)


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "lan")
    assert trust.proxy(URL("https://ghcr.io/v2/")) == URL("http://proxy:3128")
    for direct in (
        "http://ghcr.io/v2/",
        "https://lan/v2/",
        "https://localhost:5000/v2/",
        "https://127.0.0.1/",
        "https://[::1]/",
    ):
        assert trust.proxy(URL(direct)) is None
