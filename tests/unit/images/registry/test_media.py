"""Manifests and indexes: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import RegistryError, UserError
from hawse.supervisor.images.registry import media

DIGEST = f"sha256:{'0a' * 32}"


def entry(media_type: str = f"{media._OCI_LAYER}+gzip", **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 7, **fields}


def manifest(*layers: dict[str, Any], config: str = media.OCI_CONFIG, **fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": entry(config), "layers": layers, **fields}).encode()


def image(*layers: dict[str, Any], **fields: Any) -> media.Manifest:
    parsed = media.parse(manifest(*layers, **fields))
    assert isinstance(parsed, media.Manifest)
    return parsed


@pytest.mark.parametrize("kind", [*media.MANIFESTS, ""])
def test_a_manifest(kind: str) -> None:
    parsed = media.parse(manifest(entry(), mediaType=kind), f"{kind}; charset=utf-8")
    assert isinstance(parsed, media.Manifest)
    assert parsed.layers[0].digest == DIGEST and parsed.layers[0].size == 7


@pytest.mark.parametrize("kind", [*media.INDEXES, ""])
def test_an_index(kind: str) -> None:
    platform = {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"}
    content = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry(media.OCI_MANIFEST, platform=platform)]}
    parsed = media.parse(json.dumps(content).encode(), kind)
    assert isinstance(parsed, media.Index)
    assert str(parsed.manifests[0].platform) == "linux/arm/v7"


def test_schema_1_is_refused_with_what_to_do() -> None:
    with pytest.raises(RegistryError, match=r"schema version 1.*push it again"):
        media.parse(b'{"schemaVersion": 1, "name": "a", "fsLayers": []}', f"{media._SCHEMA_1}prettyjws")


@pytest.mark.parametrize(
    ("content", "served", "said"),
    [
        (b"", "", "truncated"),
        (b"<html>", "text/html", "served as text/html"),
        (b"\xff", "", "invalid manifest"),
        (b"[]", "", "Expected `object`"),
        (b"{}", "", "schemaVersion"),
        (b'{"schemaVersion": 3}', "", "schemaVersion"),
        (b'{"schemaVersion": 2}', "", "config"),
        (manifest(entry(digest="sha256:00")), "", r"layers\[0\].digest"),
        (manifest(entry(digest=DIGEST + "\n")), "", r"layers\[0\].digest"),
        (manifest(entry(size=-1)), "", r"layers\[0\].size"),
        (manifest(entry(), manifests=[]), "", "both `manifests` and `layers`"),
        (manifest(entry()), media.OCI_INDEX, "fields of another kind"),
        (manifest(entry(), mediaType=media.DOCKER_LIST), "", "fields of another kind"),
        (manifest(entry(), mediaType="a/b"), "", "unsupported media type a/b"),
        (b"[" * 100_000, "", "invalid manifest"),
    ],
)
def test_what_is_no_manifest(content: bytes, served: str, said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        media.parse(content, served)


@given(st.binary(max_size=60) | st.recursive(st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_anything_is_a_manifest_or_an_error_of_ours(content: bytes) -> None:
    try:
        media.parse(content)
    except RegistryError:
        pass


def test_layers_by_their_compression() -> None:
    assert sorted(media.LAYERS.values()) == ["", "", "gzip", "gzip", "zstd", "zstd"]
    assert media.LAYERS["application/vnd.docker.image.rootfs.diff.tar"] == ""
    assert media.LAYERS["application/vnd.docker.image.rootfs.diff.tar.gzip"] == "gzip"
    assert media.LAYERS["application/vnd.oci.image.layer.v1.tar+zstd"] == "zstd"
    media.check_image(image(*(entry(kind) for kind in media.LAYERS)))


@pytest.mark.parametrize(
    ("parsed", "said"),
    [
        (image(config="application/vnd.cncf.helm.config.v1+json"), "helm.*it is no image"),
        (image(entry(f"{media._FOREIGN[0]}+gzip")), "foreign layer"),
        (image(entry(f"{media._FOREIGN[1]}.gzip", urls=["https://example.org/x"])), "foreign layer"),
        (image(entry(f"{media._OCI_LAYER}+gzip+encrypted")), "unsupported media type.*encrypted"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_at_once(parsed: media.Manifest, said: str) -> None:
    with pytest.raises(UserError, match=said):
        media.check_image(parsed)
