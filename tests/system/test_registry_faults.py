"""The registry client against registries and lines that fail in every way that was seen of others.

The limits in seconds are for a busy machine, some ten times what the client takes on a quiet one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

import pytest

from hawse.supervisor.core.errors import NotFound, RegistryError
from hawse.supervisor.images.registry.answers import Interrupted
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.images.registry.endpoints import Access
from hawse.supervisor.images.registry.reference import parse
from tests.lab.registries import (
    AMD64,
    PLAIN,
    PROXY,
    SIZES,
    TESTER,
    Pushed,
    Registries,
    content,
    fetched,
    pull,
    push,
)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def served_once(registries: Registries) -> None:
    """No byte of a blob went over the line twice."""
    served = [asked["served"] for asked in registries.log() if "/blobs/" in asked["path"] and asked["method"] == "GET"]
    assert sum(served) == sum(SIZES)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("ok", 30),
        ("cutonce-1024", 40),  # docker 12, skopeo 1.6, where nothing else ran
        ("cut-1024", 40),  # docker 55, with 20 MB each time
        ("cut-500", 60),
        ("failing-1", 40),  # docker 6.4; skopeo fails
        ("failing-4", 60),  # docker 32; skopeo fails
        ("limited-1", 40),  # docker fails
        ("norange-0", 30),
    ],
)
def test_what_passes(registries: Registries, image: Pushed, fault: str, seconds: float) -> None:
    with within(seconds):
        found, layers = registries.call(lambda: pull(f"{PROXY}/{fault}/t/image:1"))
    assert found.found.content == image.manifest
    assert layers == content(image)
    served_once(registries)


@pytest.mark.parametrize(
    ("fault", "seconds", "said"),
    [
        ("flip", 30, "filesystem layer verification failed for digest sha256:"),
        ("short", 30, "bytes in the registry, and 5242880 in its manifest"),
        ("norange-1024", 40, "only from its beginning, and never to its end.*ignores Range"),
        ("limited", 40, "toomanyrequests: so it is .*answered 429.*log in, or set registry_mirrors"),
        ("limited-100", 30, "toomanyrequests: so it is .*Retry-After is 100"),
        ("huge", 30, "longer than 4 MiB"),
        ("otherdigest", 30, "has the digest sha256:.*the registry says sha256:0000"),
    ],
)
def test_what_does_not_pass(registries: Registries, image: Pushed, fault: str, seconds: float, said: str) -> None:
    with within(seconds), pytest.raises(RegistryError, match=said):
        registries.call(lambda: pull(f"{PROXY}/{fault}/t/image:1"))


def test_a_registry_that_is_out_of_order(registries: Registries, image: Pushed) -> None:
    """It is given as much time as a restart takes, and no more."""
    with (
        within(200),
        pytest.raises(Interrupted, match=r"received unexpected HTTP status: 503.*127.0.0.1:5002 answered 503"),
    ):
        registries.call(lambda: pull(f"{PROXY}/failing/t/image:1"))
    assert len([asked for asked in registries.log() if "/blobs/" in asked["path"]]) == 10


def test_a_pull_goes_on_where_the_last_one_ended(registries: Registries, image: Pushed) -> None:
    """Half of a layer, then a new client: none of that half is asked for again."""
    reference = parse(f"{PROXY}/ok/t/image:1")
    progress, kept = Progress(), bytearray()

    async def begin() -> None:
        async with Client(PROXY, Access()) as registry:
            found = await registry.resolve(reference, AMD64)
            pieces = registry.blob(reference, found.manifest.layers[0], progress)
            async with aclosing(pieces):
                async for piece in pieces:
                    kept.extend(piece)
                    if len(kept) >= 1 << 20:
                        break

    async def go_on() -> bytes:
        async with Client(PROXY, Access()) as registry:
            found = await registry.resolve(reference, AMD64)
            return await fetched(registry, reference, found, 0, progress)

    registries.call(begin)
    registries.log()
    rest = registries.call(go_on)
    assert bytes(kept) + rest == image.files[image.blobs[1].digest].read_bytes()
    (asked,) = (asked for asked in registries.log() if "/blobs/" in asked["path"])
    assert (asked["range"], asked["served"]) == (f"bytes={len(kept)}-", SIZES[0] - len(kept))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{PLAIN}/t/image:no", f"manifest for {PLAIN}/t/image:no not found: manifest unknown"),
        (f"{PLAIN}/t/no:1", f"manifest for {PLAIN}/t/no:1 not found: manifest unknown"),
        (f"{PLAIN}/t/image@sha256:{'0' * 64}", "manifest for .* not found: manifest unknown"),
    ],
)
def test_what_is_not_there(registries: Registries, image: Pushed, name: str, said: str) -> None:
    with pytest.raises(NotFound, match=f"{said}.*{PLAIN} answered 404"):
        registries.call(lambda: pull(name))


def test_nobody_there(registries: Registries) -> None:
    with within(30), pytest.raises(RegistryError, match=r'Get "https://127.0.0.1:1/v2/": .*refused'):
        registries.call(lambda: pull("127.0.0.1:1/t/image:1"))


def test_mirrors_of_dockers_own_registry(registries: Registries, image: Pushed) -> None:
    """A short name is asked for below library/; a dead mirror and one that lacks it are passed by."""
    registries.call(lambda: push(image, f"{PLAIN}/library/image:1", Access()))
    mirrors = ("http://127.0.0.1:1", f"http://{PLAIN}")
    found, layers = registries.call(lambda: pull("image:1", TESTER, Access(mirrors=mirrors)))
    assert found.found.content == image.manifest and layers == content(image)
    with pytest.raises(RegistryError, match=r'Get "https://registry-1.docker.io/v2/"'):
        registries.call(lambda: pull("missing:1", TESTER, Access(mirrors=mirrors)))


def test_a_push_that_is_cut_sends_that_blob_again_and_no_other(registries: Registries) -> None:
    made = Pushed(registries.directory / "cut", (4 << 20, 100_000))
    with within(120):
        registries.call(lambda: push(made, f"{PROXY}/cutpush-1024/t/cut:1", Access()))
    assert registries.raw(f"{PLAIN}/t/cut:1", "--tls-verify=false") == made.manifest
    assert registries.call(lambda: pull(f"{PLAIN}/t/cut:1"))[1] == content(made)
