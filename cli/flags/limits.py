"""Flags whose value is a small language of its own: ulimits, devices, restart policies."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse_ulimit(text: str) -> dict[str, Any]:
    """`nofile=1024:2048` (soft, hard), `core=-1`.  Raises ValueError."""
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise ValueError(f"invalid ulimit argument: {text}")
    soft, colon, hard = values.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        raise ValueError(f"invalid ulimit argument: {text}") from None
    if high != -1 and (low > high or low == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}")
    return {"Name": name, "Soft": low, "Hard": high}


def parse_device(text: str) -> dict[str, str]:
    """`/dev/fuse`, `/dev/sda:/dev/xvda`, `/dev/sda:r`.  Raises ValueError."""
    parts = text.split(":")
    host = parts[0]
    inside, permissions = host, "rwm"
    if len(parts) == 3:
        inside, permissions = parts[1], parts[2]
    elif len(parts) == 2 and parts[1] and set(parts[1]) <= set("rwm"):
        permissions = parts[1]
    elif len(parts) == 2:
        inside = parts[1]
    elif len(parts) > 3:
        raise ValueError(f"invalid device specification: {text}")
    if not permissions or not set(permissions) <= set("rwm"):
        raise ValueError(f"invalid device mode: {permissions}")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions}


def parse_device_limit(text: str, key: str) -> dict[str, Any]:
    """`/dev/sda:1mb`, for key Rate; `/dev/sda:200`, for key Weight.  Raises ValueError."""
    from hawse.cli.show.units import parse_bytes

    path, colon, value = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text} (want DEVICE:NUMBER, such as /dev/sda:1mb)")
    return {"Path": path, key: parse_bytes(value)}


def parse_restart(text: str) -> dict[str, Any]:
    """`no`, `always`, `unless-stopped`, `on-failure[:N]`.  Raises ValueError."""
    name, colon, count = text.partition(":")
    if not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if not colon:
        return {"Name": name, "MaximumRetryCount": 0}
    if not (count.isascii() and count.isdigit()):
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count)}
