"""A shim is always forked, in its own cgroup or, where that cannot be had, in the spawner's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hawse.supervisor.linux import cgroup_shims
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy


@pytest.mark.parametrize("directory", ["", "/nonexistent", "/tmp"])
def test_a_place_that_is_none_costs_no_shim(directory: str) -> None:
    """/tmp is no cgroup: the kernel refuses it."""
    pid = cgroup_shims.fork_into(directory)
    if pid == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_without_v2_there_is_no_place() -> None:
    assert Hierarchy(name="hawse", v2=None).make_shims() == ""


def test_the_place_is_made(tmp_path: Path) -> None:
    for level in (tmp_path, tmp_path / "hawse"):
        level.mkdir(exist_ok=True)
        (level / "cgroup.subtree_control").write_text("")
    assert Hierarchy(name="hawse", v2=tmp_path).make_shims() == str(tmp_path / "hawse/shims")
    assert (tmp_path / "hawse/shims").is_dir()
