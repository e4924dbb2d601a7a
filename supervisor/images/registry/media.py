"""Manifests and indexes of images, OCI's and Docker's: their media types, their fields, and what is refused.  Pure.

image-spec's descriptor, manifest and image index; Docker's differ in the names of their media types only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hawse.supervisor.core.errors import RegistryError, UserError
from hawse.supervisor.images.registry.platforms import Platform

MANIFEST_LIMIT = 4 << 20
"""Bytes; distribution-spec says that a registry should take so much, and docker reads no more."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPT = ", ".join((*MANIFESTS, *INDEXES, "*/*;q=0.1"))
"""The last, so that a registry sends what it has, and it is named here why that will not do."""

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYERS = {
    f"{form}{separator}{compression}".rstrip("+."): compression
    for form, separator in ((_OCI_LAYER, "+"), (_DOCKER_LAYER, "."))
    for compression in ("", "gzip", "zstd")
}
"""The compression of each kind of layer."""
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something in a registry: what it is, how long, and by its digest which."""

    media_type: str
    digest: Digest
    size: Annotated[int, Meta(ge=0)]
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    annotations: dict[str, str] | None = None

    @property
    def is_foreign(self) -> bool:
        """It is not in the registry but where its `urls` say: what may not be given on, as Windows' base layers."""
        return self.media_type.startswith(_FOREIGN)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One image: a configuration and layers, the lowest first."""

    media_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Images of one name, for several platforms."""

    media_type: str = ""
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] | None = None


class _Form(msgspec.Struct, rename="camel"):
    """What tells the kinds apart, and must not be ambiguous: a digest says which bytes, not what they are (CVE-2021-41190)."""

    schema_version: Literal[1, 2]
    media_type: str = ""
    manifests: Any = None
    layers: Any = None
    config: Any = None


def parse(content: bytes, content_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; `content_type` is what it was served as, if one knows.

    Raises RegistryError for what is none of them: schema 1, other documents, fields that are missing or wrong.
    """
    served = content_type.partition(";")[0].strip().lower()
    try:
        form = msgspec.json.decode(content, type=_Form)
        if form.schema_version == 1 or served.startswith(_SCHEMA_1):
            raise RegistryError(
                "the image has a manifest of schema version 1, which docker gave up in 2020",
                hint="push it again with any docker since 1.10 (2016), or ask its owner to",
            )
        _check_form(form, served)
        kind: type[Manifest | Index] = Index if form.manifests is not None else Manifest
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RegistryError(f"invalid manifest: {e}", hint=f"served as {served or 'nothing that it would name'}") from e


def check_image(manifest: Manifest) -> None:
    """See that it is an image of which we can unpack every layer.  Raises UserError with what it is instead."""
    if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        raise UserError(
            f"unsupported media type {manifest.config.media_type}: it is no image",
            hint="registries keep other things, too; fetch it with the tool that it is for",
        )
    for layer in manifest.layers:
        if layer.is_foreign:
            raise UserError(
                f"layer {layer.digest} is a foreign layer, which the registry does not have",
                hint="base layers of Windows are so; hawse runs Linux images",
            )
        if layer.media_type not in LAYERS:
            raise UserError(
                f"layer {layer.digest} has the unsupported media type {layer.media_type}",
                hint="layers are tar archives, plain or compressed by gzip or zstd",
            )


def _check_form(form: _Form, served: str) -> None:
    """Raises ValidationError."""
    of_an_index = form.manifests is not None
    if of_an_index and (form.layers is not None or form.config is not None):
        raise msgspec.ValidationError("it has both `manifests` and `layers` or `config`")
    for said in (form.media_type, served):
        if said in MANIFESTS + INDEXES and (said in INDEXES) != of_an_index:
            raise msgspec.ValidationError(f"it says that it is {said}, and has the fields of another kind")
    if form.media_type and form.media_type not in MANIFESTS + INDEXES:
        raise msgspec.ValidationError(f"unsupported media type {form.media_type}")
