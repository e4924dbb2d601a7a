"""An image's configuration as registries and archives have it: OCI's image specification, in Docker's names.  Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from hawse.supervisor.core.errors import RegistryError
from hawse.supervisor.core.model import Healthcheck, ImageConfig
from hawse.supervisor.images.registry.platforms import Platform

LARGEST = 8 << 20
"""Bytes; a configuration of docker's with thousands of lines of history is some 100 KiB."""


class _Probe(msgspec.Struct, rename="pascal"):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _Settings(msgspec.Struct, rename="pascal"):
    user: str = ""
    exposed_ports: dict[str, object] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, object] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: _Probe | None = None


class _Line(msgspec.Struct):
    created: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFs(msgspec.Struct):
    type: str
    diff_ids: list[str]


class _Config(msgspec.Struct):
    rootfs: _RootFs
    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    created: str | None = None
    author: str = ""
    config: _Settings | None = None
    history: list[_Line] | None = None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What such a document says; `diff_ids` are of the layers as plain tars, the lowest first, in hex."""

    settings: ImageConfig
    platform: Platform
    diff_ids: tuple[str, ...]
    created_at: int  # ns since the epoch
    author: str
    history: tuple[str, ...]


def parse(content: bytes) -> Configuration:
    """Raises RegistryError for what is no configuration of an image."""
    try:
        read = msgspec.json.decode(content, type=_Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RegistryError(f"invalid image configuration: {e}") from e
    if read.rootfs.type != "layers":
        raise RegistryError(f"invalid image configuration: rootfs.type is {read.rootfs.type!r}, not layers")
    return Configuration(
        settings=_settings(read.config or _Settings()),
        platform=Platform(
            os=read.os or "linux", architecture=read.architecture, variant=read.variant, os_version=read.os_version
        ),
        diff_ids=tuple(_hex(diff_id) for diff_id in read.rootfs.diff_ids),
        created_at=_time(read.created or ""),
        author=read.author,
        history=tuple(line.created_by for line in read.history or ()),
    )


def _settings(read: _Settings) -> ImageConfig:
    probe = read.healthcheck or _Probe()
    return ImageConfig(
        entrypoint=tuple(read.entrypoint or ()),
        cmd=tuple(read.cmd or ()),
        env=tuple(read.env or ()),
        workdir=read.working_dir,
        user=read.user,
        exposed=tuple(port if "/" in port else f"{port}/tcp" for port in read.exposed_ports or ()),
        volumes=tuple(read.volumes or ()),
        labels=read.labels or {},
        stop_signal=read.stop_signal,
        healthcheck=Healthcheck(
            test=tuple(probe.test or ()),
            interval=probe.interval,
            timeout=probe.timeout,
            start_period=probe.start_period,
            start_interval=probe.start_interval,
            retries=probe.retries,
        ),
    )


def _hex(diff_id: str) -> str:
    algorithm, _, digits = diff_id.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise RegistryError(f"invalid image configuration: {diff_id!r} is no diff id of sha256")
    return digits


def _time(text: str) -> int:
    """RFC 3339 in ns; builds that can be repeated say 1970 or even the year 1."""
    try:
        return max(0, int(datetime.fromisoformat(text).timestamp() * 10**6)) * 1000
    except (ValueError, OverflowError):
        return 0
