"""Limits of block I/O as control files hold them: weights and, for single devices, bytes and operations a second.

cgroup-v2.rst "IO", cgroup-v1/blkio-controller.rst.  On v2 each device has a line `MAJOR:MINOR rbps=… wbps=… riops=… wiops=…`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import DeviceLimit, Resources
from hawse.supervisor.linux.cgroup_limits import Setting

THROTTLES = (
    ("read_bps", "rbps", "read_bps"),
    ("write_bps", "wbps", "write_bps"),
    ("read_iops", "riops", "read_iops"),
    ("write_iops", "wiops", "write_iops"),
)
"""Our name of a rate, v2's, and v1's in blkio.throttle.<name>_device."""


def settings_v2(limits: Resources, weight_file: str) -> Iterator[Setting]:
    """`weight_file`: io.bfq.weight, which takes docker's 10 to 1000 as they are, or io.weight, on whose scale they are put."""
    scale = _as_io_weight if weight_file == "io.weight" else str
    if limits.blkio_weight and weight_file:
        yield Setting("io", weight_file, scale(limits.blkio_weight))
    for device in limits.blkio_weight_devices if weight_file else ():
        yield Setting("io", weight_file, f"{number(device.path)} {scale(device.value)}")
    for name, key, _ in THROTTLES:
        for device in _rates(limits, name):
            yield Setting("io", "io.max", f"{number(device.path)} {key}={device.value or 'max'}")


def settings_v1(limits: Resources, weight_file: str) -> Iterator[Setting]:
    """`weight_file`: blkio.weight or blkio.bfq.weight."""
    if limits.blkio_weight and weight_file:
        yield Setting("blkio", weight_file, str(limits.blkio_weight))
    for device in limits.blkio_weight_devices if weight_file else ():
        yield Setting("blkio", f"{weight_file}_device", f"{number(device.path)} {device.value}")
    for name, _, file in THROTTLES:
        for device in _rates(limits, name):
            yield Setting("blkio", f"blkio.throttle.{file}_device", f"{number(device.path)} {device.value}")


def weight_file(directory: Path) -> str:
    """The file that takes a weight in this cgroup, "" for none: bfq's is there while its module is loaded."""
    names = ("io.bfq.weight", "io.weight", "blkio.weight", "blkio.bfq.weight")
    return next((name for name in names if (directory / name).exists()), "")


def without(limits: Resources, *, controller: bool, weights: bool) -> tuple[Resources, list[str]]:
    """Return what this machine can keep, and docker's warnings about the rest."""
    dropped: dict[str, Any] = {}
    warnings = []
    for field, kept, text in (
        ("blkio_weight", weights, "Block I/O weight or the cgroup is not mounted. Weight discarded."),
        (
            "blkio_weight_devices",
            weights,
            "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        ),
        (
            "read_bps",
            controller,
            "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
        ),
        (
            "write_bps",
            controller,
            "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
        ),
        (
            "read_iops",
            controller,
            "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
        ),
        (
            "write_iops",
            controller,
            "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
        ),
    ):
        if getattr(limits, field) and not kept:
            dropped[field] = None if field == "blkio_weight" else ()
            warnings.append(f"Your kernel does not support {text}")
    return replace(limits, **dropped), warnings


def number(path: str) -> str:
    """MAJOR:MINOR of a block device.  Raises UserError."""
    try:
        status = os.stat(path)
    except OSError as e:
        raise UserError(f"cannot limit the I/O of {path}: {os.strerror(e.errno or 0)}") from e
    if not stat.S_ISBLK(status.st_mode):
        raise UserError(f"cannot limit the I/O of {path}: it is no block device", hint="a whole disk, such as /dev/sda")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _rates(limits: Resources, name: str) -> tuple[DeviceLimit, ...]:
    found: tuple[DeviceLimit, ...] = getattr(limits, name)
    return found


def _as_io_weight(weight: int) -> str:
    """10 to 1000 on io.weight's scale of 1 to 10000, as the OCI runtimes convert them."""
    return str(1 + (weight - 10) * 9_999 // 990)
