"""Block I/O: what is written for what was asked, and what a machine that cannot says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import DeviceLimit, Resources
from hawse.supervisor.linux import cgroup_io


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> str:
    """A path that is block device 8:16, for whoever asks."""
    real = os.stat

    def seen(path: str, **given: bool) -> os.stat_result:
        if path != "/dev/disk":
            return real(path, **given)
        return os.stat_result((stat.S_IFBLK | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(8, 16)})

    monkeypatch.setattr(os, "stat", seen)
    return "/dev/disk"


def limits(disk: str) -> Resources:
    def of(value: int) -> tuple[DeviceLimit, ...]:
        return (DeviceLimit(path=disk, value=value),)

    return Resources(blkio_weight=300, blkio_weight_devices=of(10), read_bps=of(1 << 20), write_iops=of(0))


@pytest.mark.parametrize(("file", "weights"), [("io.weight", ("2930", "1")), ("io.bfq.weight", ("300", "10"))])
def test_on_v2(disk: str, file: str, weights: tuple[str, str]) -> None:
    assert [(s.file, s.value) for s in cgroup_io.settings_v2(limits(disk), file)] == [
        (file, weights[0]),
        (file, f"8:16 {weights[1]}"),
        ("io.max", "8:16 rbps=1048576"),
        ("io.max", "8:16 wiops=max"),
    ]


def test_on_v1(disk: str) -> None:
    assert [(s.file, s.value) for s in cgroup_io.settings_v1(limits(disk), "blkio.bfq.weight")] == [
        ("blkio.bfq.weight", "300"),
        ("blkio.bfq.weight_device", "8:16 10"),
        ("blkio.throttle.read_bps_device", "8:16 1048576"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
    ]


def test_what_the_machine_cannot_do_is_told_and_left_out(disk: str) -> None:
    asked = limits(disk)
    assert cgroup_io.without(asked, controller=True, weights=True) == (asked, [])
    kept, warnings = cgroup_io.without(asked, controller=True, weights=False)
    assert (kept.blkio_weight, kept.blkio_weight_devices, kept.read_bps) == (None, (), asked.read_bps)
    assert warnings[0] == (
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
    )
    kept, warnings = cgroup_io.without(asked, controller=False, weights=False)
    assert kept == Resources() and len(warnings) == 4


@pytest.mark.parametrize("path", ["/dev/none-such", "/dev/null"])
def test_what_is_no_disk(path: str) -> None:
    with pytest.raises(UserError, match=path):
        cgroup_io.number(path)


def test_the_file_of_the_weight(tmp_path: Path) -> None:
    assert cgroup_io.weight_file(tmp_path) == ""
    (tmp_path / "io.weight").touch()
    assert cgroup_io.weight_file(tmp_path) == "io.weight"
    (tmp_path / "io.bfq.weight").touch()
    assert cgroup_io.weight_file(tmp_path) == "io.bfq.weight"
