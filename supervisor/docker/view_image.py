"""Images in Docker's JSON.  Pure."""

from __future__ import annotations

from typing import Any

from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.model import Image, ImageConfig


def summary(image: Image, containers: int = -1) -> dict[str, Any]:
    """Show one element of GET /images/json."""
    return {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Created": image.created_at // 10**9,
        "Size": image.size,
        "SharedSize": -1,
        "VirtualSize": image.size,
        "Labels": image.config.labels,
        "Containers": containers,
    }


def inspect(image: Image) -> dict[str, Any]:
    """GET /images/X/json.  ContainerConfig is there because docker-compose 1.29 reads it."""
    config = image_config(image.config)
    return {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": rfc3339(image.created_at),
        "Container": "",
        "ContainerConfig": config,
        "DockerVersion": "",
        "Author": image.author,
        "Config": config,
        "Architecture": image.architecture,
        **({"Variant": image.variant} if image.variant else {}),
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": None},
        "RootFS": {"Type": "layers", "Layers": [f"sha256:{layer}" for layer in image.layers]},
        "Metadata": {"LastTagTime": rfc3339(0)},
    }


def image_config(config: ImageConfig) -> dict[str, Any]:
    view: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in config.exposed} or None,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": list(config.cmd) or None,
        "Image": "",
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.workdir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": None,
        "Labels": config.labels,
    }
    if config.stop_signal:
        view["StopSignal"] = config.stop_signal
    if config.healthcheck.test:
        view["Healthcheck"] = {
            "Test": list(config.healthcheck.test),
            "Interval": config.healthcheck.interval,
            "Timeout": config.healthcheck.timeout,
            "Retries": config.healthcheck.retries,
        }
    return view


def history(image: Image) -> list[dict[str, Any]]:
    """GET /images/X/history, newest first; only the topmost has the image's name."""
    lines: list[dict[str, Any]] = [
        {
            "Id": "<missing>",
            "Created": image.created_at // 10**9,
            "CreatedBy": text,
            "Tags": None,
            "Size": 0,
            "Comment": "",
        }
        for text in reversed(image.history or ("",) * len(image.layers))
    ]
    if lines:
        lines[0] |= {"Id": image.id, "Tags": list(image.tags) or None, "Size": image.size, "Comment": image.comment}
    return lines
