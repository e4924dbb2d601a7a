"""Files into and out of a root that does not want it: symlinks lead nowhere outside, nothing is written past them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.images import diff, whiteouts
from hawse.supervisor.images.diff import Change, Kind
from hawse.supervisor.linux import rootcopy
from hawse.supervisor.linux.rootcopy import DEEPEST, Root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must stay as it is."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("host")
    return place


@pytest.fixture
def inside(tmp_path: Path, outside: Path) -> Path:
    """A container's root with ways out of it."""
    place = tmp_path / "root"
    (place / "etc").mkdir(parents=True)
    (place / "etc" / "passwd").write_text("inside")
    (place / "absolute").symlink_to(outside)
    (place / "relative").symlink_to("../outside")
    (place / "good").symlink_to("/etc")
    return place


@pytest.fixture
def root(inside: Path) -> Iterator[Root]:
    fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield Root(fd=fd, uid_base=None)
    os.close(fd)


def packed(root: Root, path: str, **options: Any) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    rootcopy.pack(root, path, out, **options)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return {m.name: m for m in tar}


def content(root: Root, path: str) -> bytes:
    out = io.BytesIO()
    rootcopy.pack(root, path, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        assert file is not None
        return file.read()


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "", mode: int = 0o644) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
    info.uid, info.gid, info.mtime = os.geteuid(), os.getegid(), 1_000_000
    return info, io.BytesIO(data)


def unpack(root: Root, path: str, *entries: Any, **options: Any) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, data in entries:
            tar.addfile(info, data)
    raw.seek(0)
    with tarfile.open(fileobj=raw, mode="r|") as tar:
        rootcopy.unpack(root, path, tar, **options)


def test_a_path_is_looked_up_inside(root: Root) -> None:
    assert content(root, "/good/passwd") == b"inside"
    assert content(root, "good/../etc/passwd") == b"inside"
    assert content(root, "/../../etc/passwd") == b"inside"


@pytest.mark.parametrize("path", ["/absolute/secret", "/relative/secret", "/absolute/", "/relative/."])
def test_a_symlink_that_leads_out_leads_nowhere(root: Root, path: str) -> None:
    with pytest.raises(NotFound, match="Could not find the file"):
        packed(root, path)
    with pytest.raises(NotFound):
        rootcopy.stat_path(root, path)


def test_a_symlink_itself_is_told_and_packed_as_one(root: Root, outside: Path) -> None:
    found = rootcopy.stat_path(root, "/absolute")
    assert stat.S_ISLNK(found.mode) and found.link_target == str(outside) and found.name == "absolute"
    assert packed(root, "/absolute")["absolute"].issym()


def test_what_is_packed(root: Root, inside: Path) -> None:
    (inside / "d").mkdir(mode=0o2750)
    os.chmod(inside / "d", 0o2750)
    (inside / "d" / "f").write_bytes(b"x" * 5000)
    os.link(inside / "d" / "f", inside / "d" / "g")
    os.mkfifo(inside / "d" / "pipe")
    (inside / "d" / "e").mkdir()
    (inside / "d" / "e" / "deep").write_text("y")
    found = packed(root, "/d")
    assert list(found) == ["d", "d/e", "d/e/deep", "d/f", "d/g", "d/pipe"]
    assert found["d"].mode == 0o2750 and found["d/f"].size == 5000
    assert found["d/g"].islnk() and found["d/g"].linkname == "d/f" and found["d/pipe"].isfifo()
    assert next(iter(packed(root, "/d/."))) == "."
    assert {"etc", "etc/passwd", "good"} <= set(packed(root, "/"))


def test_ids_are_those_of_the_container() -> None:
    root = Root(fd=-1, uid_base=2_000_000)
    assert [root.inside(i) for i in (2_000_000, 2_000_007, 2_065_535, 0, 2_065_536)] == [0, 7, 65_535, 65_534, 65_534]
    assert [root.outside(i) for i in (0, 7, 65_535, 99_999)] == [2_000_000, 2_000_007, 2_065_535, 2_065_535]
    assert Root(fd=-1, uid_base=2_000_000, lower_ids=True).inside(33) == 33
    assert Root(fd=-1, uid_base=None).inside(1_000_000) == 1_000_000


def test_a_tree_that_is_too_deep_is_refused_and_not_run_out_of_descriptors(root: Root, inside: Path) -> None:
    (inside / "deep").joinpath(*(["d"] * (DEEPEST + 5))).mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match="directories deep"):
        packed(root, "/deep")
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_unpacked(root: Root, inside: Path) -> None:
    unpack(
        root,
        "/good",
        entry("new/", tarfile.DIRTYPE, mode=0o750),
        entry("new/file", data=b"hello", mode=0o4755),
        entry("new/hard", tarfile.LNKTYPE, link="new/file"),
        entry("new/soft", tarfile.SYMTYPE, link="/outside"),
        entry("passwd", data=b"replaced"),
        entry("made/on/the/way", data=b"z"),
        entry("zero", tarfile.CHRTYPE),
    )
    etc = inside / "etc"
    assert (etc / "passwd").read_text() == "replaced" and (etc / "made/on/the/way").read_text() == "z"
    assert stat.S_IMODE((etc / "new").stat().st_mode) == 0o750
    assert stat.S_IMODE((etc / "new/file").stat().st_mode) == 0o4755
    assert (etc / "new/file").stat().st_mtime == 1_000_000 == (etc / "new").stat().st_mtime
    assert (etc / "new/hard").samefile(etc / "new/file") and os.readlink(etc / "new/soft") == "/outside"
    assert not (etc / "zero").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("absolute/owned", data=b"x")],
        [entry("relative/owned", data=b"x")],
        [entry("../owned", data=b"x")],
        [entry("a/../../owned", data=b"x")],
        [entry("link", tarfile.SYMTYPE, link="/../outside"), entry("link/owned", data=b"x")],
        [entry("stolen", tarfile.LNKTYPE, link="../outside/secret"), entry("stolen", data=b"x")],
        [entry("stolen", tarfile.LNKTYPE, link="absolute/secret")],
        [entry("absolute", data=b"x"), entry("relative/", tarfile.DIRTYPE)],
        [entry("link", tarfile.SYMTYPE, link="secret"), entry("link", data=b"through", mode=0o777)],
    ],
    ids=["absolute", "relative", "dotdot", "hidden-dotdot", "own-link", "hardlink", "hardlink-link", "over", "replace"],
)
def test_nothing_is_written_outside(root: Root, outside: Path, entries: list[Any]) -> None:
    before = (outside / "secret").stat()
    try:
        unpack(root, "/", *entries)
    except (UserError, NotFound, Conflict, OSError):
        pass
    assert sorted(p.name for p in outside.iterdir()) == ["secret"] and (outside / "secret").read_text() == "host"
    after = (outside / "secret").stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_nlink) == (after.st_mode, after.st_mtime_ns, after.st_nlink)
    assert not (outside.parent / "owned").exists()


def test_where_nothing_can_be_unpacked(root: Root) -> None:
    with pytest.raises(NotFound):
        unpack(root, "/nowhere", entry("x"))
    with pytest.raises(UserError, match="not a directory"):
        unpack(root, "/etc/passwd", entry("x"))


def test_directories_and_files_in_each_other_s_place(root: Root, inside: Path) -> None:
    with pytest.raises(UserError, match=r'cannot overwrite directory "/etc" with non-directory'):
        unpack(root, "/", entry("etc", data=b"x"), keep_kind=True)
    with pytest.raises(UserError, match="cannot overwrite non-directory"):
        unpack(root, "/etc", entry("passwd/", tarfile.DIRTYPE), keep_kind=True)
    with pytest.raises(Conflict, match="cannot overwrite /etc"):
        unpack(root, "/", entry("etc", data=b"x"))
    unpack(root, "/etc", entry("passwd/", tarfile.DIRTYPE))
    assert (inside / "etc" / "passwd").is_dir()


def layer(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir(exist_ok=True)
        else:
            (root / name).write_text(name)
    return root


def whiteout(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    whiteouts.make_whiteout(path.name, directory)
    os.close(directory)


def test_what_a_container_changed(tmp_path: Path) -> None:
    bottom = layer(tmp_path / "bottom", "etc/group", "etc/gone", "var/old/x", "opaque/hidden")
    top = layer(tmp_path / "top", "etc/other", "var/y")
    whiteout(top / "etc" / "gone")
    upper = layer(tmp_path / "upper", "etc/group", "etc/new", "etc/gone", "var/y", "d/e/f", "etc/other")
    whiteout(upper / "var" / "old")
    (upper / "etc" / "hostname").touch()
    assert diff.changes(upper, [top, bottom]) == [
        Change("/d", Kind.ADDED),
        Change("/d/e", Kind.ADDED),
        Change("/d/e/f", Kind.ADDED),
        Change("/etc", Kind.MODIFIED),
        Change("/etc/gone", Kind.ADDED),
        Change("/etc/group", Kind.MODIFIED),
        Change("/etc/new", Kind.ADDED),
        Change("/etc/other", Kind.MODIFIED),
        Change("/var", Kind.MODIFIED),
        Change("/var/old", Kind.DELETED),
        Change("/var/y", Kind.MODIFIED),
    ]
    assert diff.changes(tmp_path / "never-ran", [top, bottom]) == []
