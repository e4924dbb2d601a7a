"""The flag by which ext4 spreads what is made in a directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hawse.supervisor.images.layers import Layers
from hawse.supervisor.linux.topdir import FS_IOC_GETFLAGS, FS_TOPDIR_FL, spread_children


def flags(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(4)), "little")
    except OSError as e:
        if e.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip("this file system has no such flags")
    finally:
        os.close(fd)


def test_layers_are_spread(tmp_path: Path) -> None:
    before = flags(tmp_path)
    layers = Layers(tmp_path)
    layers.make()
    if not flags(layers.directory) & FS_TOPDIR_FL:
        pytest.skip("another file system than ext4")
    layers.make()
    assert flags(layers.directory) & ~FS_TOPDIR_FL == before & ~FS_TOPDIR_FL, "other flags stay"
    assert flags(layers.trash) & FS_TOPDIR_FL == 0


def test_a_file_system_without_flags_is_no_error() -> None:
    spread_children(Path("/proc/self"))
