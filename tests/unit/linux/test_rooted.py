"""Paths inside a root: made where missing, and never outside, whatever symlinks there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse.supervisor.linux import rooted


def made(root: Path, path: str, *, directory: bool = True) -> str:
    """The real path of what `ensure` found or made."""
    fd = os.open(root, os.O_PATH)
    try:
        got = rooted.ensure(fd, path, directory=directory)
        try:
            return os.readlink(f"/proc/self/fd/{got}")
        finally:
            os.close(got)
    finally:
        os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/there").mkdir(parents=True)
    return tmp_path / "root"


def test_making_what_is_missing(root: Path) -> None:
    assert made(root, "/a/b/../c//./d") == f"{root}/a/c/d"
    assert not (root / "a/b").exists() or (root / "a/b").is_dir()
    assert made(root, "/there/file", directory=False) == f"{root}/there/file"
    assert (root / "there/file").is_file()
    assert made(root, "/there") == f"{root}/there"


@pytest.mark.parametrize(
    ("link", "path", "lands"),
    [
        ("/absolute", "in", "absolute/in"),
        ("../../../../etc", "in", "etc/in"),
        ("there", "in", "there/in"),
        ("/not/yet", "in/deep", "not/yet/in/deep"),
        ("..", "in", "in"),
    ],
)
def test_links_stay_inside(root: Path, link: str, path: str, lands: str) -> None:
    (root / "link").symlink_to(link)
    assert made(root, f"/link/{path}") == f"{root}/{lands}"


def test_a_link_that_goes_round(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        made(root, "/a/x")


def test_the_wrong_kind(root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="/file"):
        made(root, "/file")
    with pytest.raises(IsADirectoryError, match="/there"):
        made(root, "/there", directory=False)
    with pytest.raises(NotADirectoryError):
        made(root, "/file/below")


def test_magic_links_are_refused(root: Path) -> None:
    fd = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            rooted.open_path(fd, f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


names = st.sampled_from(["a", "b", "there", "..", ".", "link", ""])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(names, max_size=5), st.lists(names, max_size=6), st.booleans())
def test_nothing_ever_appears_outside(
    tmp_path_factory: pytest.TempPathFactory, path: list[str], goal: list[str], absolute: bool
) -> None:
    base = tmp_path_factory.mktemp("r")
    (base / "root/there").mkdir(parents=True)
    text = "/".join(goal)
    (base / "root/link").symlink_to(("/" if absolute else "") + text or ".")
    try:
        where = made(base / "root", "/" + "/".join(path))
        assert where == f"{base}/root" or where.startswith(f"{base}/root/")
    except OSError:
        pass
    assert [p.name for p in base.iterdir()] == ["root"]
