"""What an install finds, writes and takes away again: whose a file is decides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hawse.cli.errors import Failure
from hawse.cli.install.files import (
    Found,
    found,
    make_directory,
    missing_directories,
    not_writable,
    remove_empty,
    remove_ours,
    write,
)
from hawse.cli.install.inventory import Item
from hawse.cli.install.manifest import Manifest, load, save


@pytest.fixture
def item(tmp_path: Path) -> Item:
    return Item(path=str(tmp_path / "unit"), content=b"new\n")


def old(item: Item) -> Manifest:
    """The manifest of an install that wrote something else there."""
    return Manifest(marks={item.path: [Item(path=item.path, content=b"old\n").mark]})


def look(item: Item, manifest: Manifest | None) -> Found:
    return found(item.path, item.mark, manifest)


def test_what_is_found(item: Item) -> None:
    path = Path(item.path)
    assert look(item, old(item)) is Found.NOTHING
    path.write_text("new\n")
    assert look(item, None) is Found.SAME
    path.write_text("old\n")
    assert look(item, old(item)) is Found.OURS
    assert look(item, None) is Found.FOREIGN
    path.write_text("edited\n")
    assert look(item, old(item)) is Found.CHANGED
    path.unlink()
    path.mkdir()
    assert look(item, None) is Found.FOREIGN


def test_a_link_is_its_target_also_when_that_is_gone(tmp_path: Path) -> None:
    item = Item(path=str(tmp_path / "hawse"), link="/nowhere/hawse")
    write(item)
    assert os.readlink(item.path) == "/nowhere/hawse"
    assert look(item, None) is Found.SAME
    assert found(item.path, Item(path=item.path, link="/elsewhere").mark, None) is Found.FOREIGN


def test_a_write_replaces_in_one_step_whatever_a_killed_one_left(item: Item) -> None:
    path = Path(item.path)
    path.write_text("old\n")
    path.with_name(".unit.hawse-new").symlink_to("/dev/null")
    with path.open() as held:
        umask = os.umask(0o077)
        try:
            write(item)
        finally:
            os.umask(umask)
        assert held.read() == "old\n", "a reader has the old one to its end"
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o7777 == 0o644, "whatever the umask"
    assert os.listdir(path.parent) == ["unit"]


def test_only_what_is_ours_is_removed(tmp_path: Path) -> None:
    unit = Item(path=str(tmp_path / "unit"), content=b"unit\n")
    link = Item(path=str(tmp_path / "link"), link="/opt/hawse/bin/hawse")
    manifest = Manifest(marks={item.path: [item.mark] for item in (unit, link)})
    assert not remove_ours(unit.path, manifest), "nothing there"
    for item in (unit, link):
        write(item)
    os.unlink(link.path)
    os.symlink("/mine", link.path)
    assert remove_ours(unit.path, manifest)
    assert not remove_ours(link.path, manifest)
    assert os.listdir(tmp_path) == ["link"], "the administrator's own link stays"


def test_directories_are_made_from_above_and_go_when_they_are_empty(tmp_path: Path) -> None:
    wanted = [f"{tmp_path}/a/b/c", f"{tmp_path}/a/d"]
    missing = missing_directories(wanted)
    assert missing == [f"{tmp_path}/a", f"{tmp_path}/a/b", f"{tmp_path}/a/b/c", f"{tmp_path}/a/d"]
    for directory in missing:
        make_directory(directory)
    assert missing_directories(wanted) == []
    (tmp_path / "a/d/mine").touch()
    assert remove_empty(missing) == [f"{tmp_path}/a/b/c", f"{tmp_path}/a/b"]
    assert (tmp_path / "a/d/mine").exists()


def test_a_path_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a directory" in not_writable(f"{tmp_path}/file/x/y")
    assert not not_writable(f"{tmp_path}/fresh/x/y")


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path / "installed.json")
    assert load(path) is None
    manifest = Manifest(marks={"/a": ["1", "2"]}, directories=["/d"], group=True, complete=True)
    save(manifest, path)
    assert load(path) == manifest
    assert os.listdir(tmp_path) == ["installed.json"]


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"unknown": 1})])
def test_what_is_no_manifest_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "installed.json"
    path.write_text(text)
    with pytest.raises(Failure, match="not what"):
        load(str(path))
