"""The registry client against Debian's registry, with skopeo as the judge, and with passwords and tokens."""

from __future__ import annotations

import json

import anyio
import pytest

from hawse.supervisor.core.errors import HawseError, NotFound, RegistryError, Unauthorized
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.credentials import NOBODY, Credentials
from hawse.supervisor.images.registry.endpoints import Access
from hawse.supervisor.images.registry.media import OCI_MANIFEST
from hawse.supervisor.images.registry.reference import Reference, parse
from hawse.supervisor.images.registry.upload import Outcome
from tests.lab import tokenserver
from tests.lab.registries import (
    AMD64,
    PLAIN,
    PROXY,
    SECURE,
    SIZES,
    TESTER,
    TOKENS,
    Pushed,
    Registries,
    content,
    fetched,
    pull,
    push,
)


def test_what_is_pushed_is_what_skopeo_and_we_read(registries: Registries, image: Pushed) -> None:
    found, layers = registries.call(lambda: pull(f"{PLAIN}/t/image:1"))
    assert found.found.content == image.manifest == registries.raw(f"{PLAIN}/t/image:1", "--tls-verify=false")
    assert found.descriptor.digest == image.digest
    assert layers == content(image)


def test_by_digest_and_by_head(registries: Registries, image: Pushed) -> None:
    async def work() -> None:
        async with Client(PLAIN, Access()) as registry:
            described = await registry.describe(parse(f"{PLAIN}/t/image:1"))
            assert (described.digest, described.size) == (image.digest, len(image.manifest))
            found = await registry.manifest(parse(f"{PLAIN}/t/image:other@{image.digest}"))
            assert found.content == image.manifest

    registries.call(work)


def test_a_second_push_sends_nothing_and_another_repository_mounts(registries: Registries, image: Pushed) -> None:
    async def work() -> list[Outcome]:
        async with Client(PLAIN, Access()) as registry:
            layer = image.blobs[1]
            again = await registry.push_blob(parse(f"{PLAIN}/t/image"), layer, image.files[layer.digest])
            other = parse(f"{PLAIN}/t/mounted")
            mounted = await registry.push_blob(other, layer, image.files[layer.digest], mount_from="t/image")
            sent: list[int] = []
            third = parse(f"{PLAIN}/t/third")
            pushed = await registry.push_blob(third, layer, image.files[layer.digest], sent=sent.append)
            assert sent[-1] == layer.size and sent == sorted(sent)
            return [again, mounted, pushed]

    assert registries.call(work) == [Outcome.EXISTS, Outcome.MOUNTED, Outcome.PUSHED]


def test_tags(registries: Registries, image: Pushed) -> None:
    async def work() -> list[str]:
        reference = await push(image, f"{PLAIN}/t/tags:a", Access())
        async with Client(PLAIN, Access()) as registry:
            for tag in "bc":
                await registry.push_manifest(Reference(reference.name, tag), image.manifest, OCI_MANIFEST)
            return await registry.tags(reference)

    assert sorted(registries.call(work)) == ["a", "b", "c"]


def test_the_image_of_an_index_for_this_machine(registries: Registries, image: Pushed) -> None:
    index = registries.call(lambda: _push_index(image, "linux/arm64", "linux/amd64"))
    found, layers = registries.call(lambda: pull(f"{PLAIN}/t/index:1"))
    assert (found.descriptor.digest, found.found.descriptor.digest) == (index, image.digest)
    assert layers == content(image)
    registries.call(lambda: _push_index(image, "linux/arm64", "windows/amd64"))
    with pytest.raises(NotFound, match=r"no matching manifest for linux/amd64.*there is linux/arm64, windows/amd64"):
        registries.call(lambda: pull(f"{PLAIN}/t/index:1"))


async def _push_index(image: Pushed, *names: str) -> str:
    entry = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}
    entries = []
    for name in names:
        os, architecture = name.split("/")
        entries.append({**entry, "platform": {"os": os, "architecture": architecture}})
    kind = "application/vnd.oci.image.index.v1+json"
    content = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    reference = await push(image, f"{PLAIN}/t/index:image", Access())
    async with Client(PLAIN, Access()) as registry:
        return await registry.push_manifest(Reference(reference.name, "1"), content, kind)


# ---- who one is ------------------------------------------------------------------------------------------------------


def test_a_password_over_tls(registries: Registries, image: Pushed) -> None:
    name = f"{SECURE}/t/image:1"
    registries.call(lambda: push(image, name, Access(), TESTER))
    assert registries.call(lambda: pull(name, TESTER))[1] == content(image)
    raw = registries.raw(name, "--tls-verify=false", "--creds=tester:secret")
    assert raw == image.manifest


@pytest.mark.parametrize(
    ("credentials", "error", "said"),
    [
        (
            Credentials(username="tester", password="wrong"),
            Unauthorized,
            "unauthorized: incorrect username or password",
        ),
        (NOBODY, NotFound, "pull access denied for .*, repository does not exist or may require 'docker login'"),
    ],
)
def test_a_wrong_password_and_none(
    registries: Registries, credentials: Credentials, error: type[HawseError], said: str
) -> None:
    with pytest.raises(error, match=f"{said}.*{SECURE} answered 401"):
        registries.call(lambda: pull(f"{SECURE}/t/image:1", credentials))


@pytest.mark.parametrize("address", [SECURE, PLAIN])
def test_login(registries: Registries, address: str) -> None:
    async def login(credentials: Credentials) -> str:
        async with Client(address, Access(), credentials) as registry:
            return await registry.login()

    assert registries.call(lambda: login(TESTER)) == ""
    if address == SECURE:
        with pytest.raises(Unauthorized, match="unauthorized: incorrect username or password"):
            registries.call(lambda: login(Credentials(username="tester", password="wrong")))


def test_an_authority_of_ones_own(registries: Registries, image: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is not asked for a certificate, unless somebody takes away that it is the loopback."""
    monkeypatch.setattr("hawse.supervisor.images.registry.endpoints.LOOPBACK", ())
    name = f"{SECURE}/t/image:1"
    registries.call(lambda: push(image, name, Access(insecure=(SECURE,)), TESTER))
    with pytest.raises(RegistryError, match=r"failed to verify certificate.*certs.d/127.0.0.1:5001/ca.crt"):
        registries.call(lambda: pull(name, TESTER))
    with pytest.raises(RegistryError, match=r"server gave HTTP response to HTTPS client.*insecure_registries"):
        registries.call(lambda: pull(f"{PLAIN}/t/image:1"))
    trusted = registries.directory / "certs.d"
    (trusted / SECURE).mkdir(parents=True)
    (trusted / SECURE / "ca.crt").write_bytes((registries.directory / "cert.pem").read_bytes())
    assert registries.call(lambda: pull(name, TESTER, Access(certificates=trusted)))[1] == content(image)


def test_tokens(registries: Registries, image: Pushed) -> None:
    name = f"{PROXY}/private/t/image:1"
    for credentials in (NOBODY, TESTER, Credentials(identity_token=tokenserver.IDENTITY)):
        assert registries.call(lambda credentials=credentials: pull(name, credentials))[1] == content(image)  # type: ignore[misc]
    anybody, password, identity = registries.log(TOKENS)
    assert anybody["query"] == {"service": ["lab"], "scope": ["repository:private/t/image:pull"]}
    assert (anybody["password"], password["password"], identity["method"]) == (False, True, "POST")
    assert password["query"]["account"] == ["tester"]
    for wrong in (Credentials(username="tester", password="x"), Credentials(identity_token="x")):
        with pytest.raises(Unauthorized, match=r"incorrect username or password.*the token server of 127.0.0.1:5002"):
            registries.call(lambda wrong=wrong: pull(name, wrong))  # type: ignore[misc]


def test_a_token_that_ends_in_the_middle(registries: Registries, image: Pushed) -> None:
    async def work() -> bytes:
        reference = parse(f"{PROXY}/brief/t/image:1")
        async with Client(PROXY, Access(), TESTER) as registry:
            found = await registry.resolve(reference, AMD64)
            parts = []
            for at in range(len(SIZES)):
                await anyio.sleep(1.1)
                parts.append(await fetched(registry, reference, found, at))
            return b"".join(parts)

    assert registries.call(work) == content(image)
    assert len(registries.log(TOKENS)) == 1 + len(SIZES)


def test_no_password_goes_to_a_realm_without_tls(registries: Registries, image: Pushed) -> None:
    with pytest.raises(RegistryError, match=r"token server 'http://192.0.2.1/token', which is not asked"):
        registries.call(lambda: pull(f"{PROXY}/unsafe/t/image:1", TESTER))


def test_credentials_do_not_follow_to_another_host(registries: Registries, image: Pushed) -> None:
    """The registry that asks for a password is the proxy, by a token; the blobs are elsewhere."""
    sent = Credentials(registry_token="secret")
    assert registries.call(lambda: pull(f"{PROXY}/redirect/t/image:1", sent))[1] == content(image)
    log = registries.log()
    assert {asked["authorized"] for asked in log if asked["host"].startswith("127.0.0.1")} == {True}
    elsewhere = [asked for asked in log if asked["host"].startswith("127.0.0.2")]
    assert len(elsewhere) == len(SIZES)
    assert {(asked["authorized"], asked["query"]) for asked in elsewhere} == {(False, "signed=a%2Fb%3D%3D")}
