"""`--volume` and `--mount`, read on this side because relative paths are this process's."""

from __future__ import annotations

import os

from hawse.cli.errors import Failure
from hawse.cli.show.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPES = ("bind", "volume", "tmpfs")


def split_volumes(specs: list[str]) -> tuple[list[str], list[str]]:
    """`--volume` values as (binds and named volumes, targets of anonymous volumes).  Raises Failure."""
    binds, anonymous = [], []
    for spec in specs:
        parts = spec.split(":")
        if len(parts) > 3:
            raise Failure(f"invalid spec: {spec}: too many colons")
        if not all(parts):
            raise Failure(f"invalid spec: {spec}: empty section between colons")
        if len(parts) == 1:
            anonymous.append(spec)
            continue
        if parts[0].startswith((".", "~/")):
            parts[0] = os.path.abspath(os.path.expanduser(parts[0]))
        binds.append(":".join(parts))
    return binds, anonymous


def parse_mount(text: str) -> dict[str, Any]:
    """`type=bind,source=/a,target=/b,readonly` as one of HostConfig.Mounts.  Raises ValueError."""
    mount: dict[str, Any] = {"Type": "volume"}
    for part in _comma_separated(text):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals and key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
            raise ValueError(f"invalid field '{part}' must be a key=value pair")
        _put(mount, key, value, part, _boolean(value, key) if not equals or key in _FLAGS else False)
    if not mount.get("Target"):
        raise ValueError("target is required")
    if mount["Type"] == "bind" and not mount.get("Source"):
        raise ValueError("source is required for a bind mount")
    for option, kind in (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")):
        if option in mount and mount["Type"] != kind:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
    return mount


_FLAGS = frozenset({"readonly", "ro", "volume-nocopy", "bind-nonrecursive"})


def _put(mount: dict[str, Any], key: str, value: str, part: str, on: bool) -> None:
    match key:
        case "type":
            if value.lower() not in _TYPES:
                raise ValueError(f"unknown mount type '{value}' (one of {', '.join(_TYPES)})")
            mount["Type"] = value.lower()
        case "source" | "src":
            mount["Source"] = os.path.abspath(value) if value.startswith(".") else value
        case "target" | "dst" | "destination":
            mount["Target"] = value
        case "readonly" | "ro":
            mount["ReadOnly"] = on
        case "consistency":
            mount["Consistency"] = value
        case "bind-propagation":
            mount.setdefault("BindOptions", {})["Propagation"] = value
        case "bind-nonrecursive":
            mount.setdefault("BindOptions", {})["NonRecursive"] = on
        case "volume-nocopy":
            mount.setdefault("VolumeOptions", {})["NoCopy"] = on
        case "volume-subpath":
            mount.setdefault("VolumeOptions", {})["Subpath"] = value
        case "volume-label":
            name, _, label = value.partition("=")
            mount.setdefault("VolumeOptions", {}).setdefault("Labels", {})[name] = label
        case "volume-driver":
            mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})["Name"] = value
        case "tmpfs-size":
            mount.setdefault("TmpfsOptions", {})["SizeBytes"] = parse_bytes(value)
        case "tmpfs-mode":
            try:
                mount.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
            except ValueError:
                raise ValueError(f"invalid value for tmpfs-mode: {value}") from None
        case _:
            raise ValueError(f"unexpected key '{key}' in '{part}'")


def _boolean(value: str, key: str) -> bool:
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def _comma_separated(text: str) -> list[str]:
    """Split it as a line of CSV: a part in double quotes may hold commas."""
    if '"' not in text:
        return text.split(",")
    import csv

    return next(csv.reader([text]), [])
