"""cp: Docker's rules for what goes where."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.files.packing import pack
from hawse.cli.files.unpacking import unpack
from tests.unit.cli.archive import FILE, TREE, Inside
from tests.unit.cli.daemon import CliDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    (tmp_path / "run").mkdir()
    made = CliDaemon(tmp_path / "run")
    yield made
    made.close()


@pytest.fixture
def inside(daemon: CliDaemon) -> Inside:
    return Inside(daemon)


def files(directory: Path) -> dict[str, int]:
    return {str(p.relative_to(directory)): p.stat().st_size for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/etc", "out/new", {"new/a": 1, "new/sub/b": 100_000}),
        ("/etc", "out", {"etc/a": 1, "etc/sub/b": 100_000}),
        ("/etc/", "out/", {"etc/a": 1, "etc/sub/b": 100_000}),
        ("/etc/.", "out", {"a": 1, "sub/b": 100_000}),
        ("/a", "out", {"a": 1}),
        ("/a", "out/renamed", {"renamed": 1}),
        ("etc", "out/new", {"new/a": 1, "new/sub/b": 100_000}),
        ("/link/", "out/new", {"new/a": 1, "new/sub/b": 100_000}),
        ("/link/.", "out/new", {"new/a": 1, "new/sub/b": 100_000}),
        ("/link/", "out", {"link/a": 1, "link/sub/b": 100_000}),
        ("/link/.", "out", {"a": 1, "sub/b": 100_000}),
    ],
)
def test_out_of_a_container(
    daemon: CliDaemon, inside: Inside, tmp_path: Path, source: str, target: str, expected: dict[str, int]
) -> None:
    (tmp_path / "out").mkdir()
    said = daemon.run("cp", f"web:{source}", str(tmp_path / target) + ("/" if target.endswith("/") else ""))
    assert (said.code, said.err) == (0, "")
    assert files(tmp_path / "out") == expected


def test_a_file_is_replaced_and_a_directory_is_not(daemon: CliDaemon, inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("previous content")
    assert daemon.run("cp", "web:/a", str(tmp_path / "old")).code == 0
    assert (tmp_path / "old").read_text() == "A"
    refused = daemon.run("cp", "web:/etc", str(tmp_path / "old"))
    assert (refused.code, refused.err) == (1, "hawse: cannot copy directory\n")


@pytest.mark.parametrize(("source", "target"), [("/a", "missing/"), ("/a", "missing/x"), ("/nope", "x")])
def test_what_cannot_be_copied_out(daemon: CliDaemon, inside: Inside, tmp_path: Path, source: str, target: str) -> None:
    said = daemon.run("cp", f"web:{source}", f"{tmp_path}/{target}")
    assert said.code == 1 and said.err.startswith("hawse: ")
    assert not (tmp_path / "missing").exists()


def test_the_archive_itself_to_stdout(daemon: CliDaemon, inside: Inside) -> None:
    assert daemon.run("cp", "web:/etc", "-").raw == TREE


def test_a_link_is_followed_when_asked(daemon: CliDaemon, inside: Inside, tmp_path: Path) -> None:
    assert daemon.run("cp", "-L", "web:/link", str(tmp_path / "new")).code == 0
    assert files(tmp_path / "new") == {"a": 1, "sub/b": 100_000}


def names(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: (archive.extractfile(m) or io.BytesIO()).read() if m.isreg() else m.type for m in archive}


@pytest.mark.parametrize(
    ("source", "target", "path", "expected"),
    [
        ("tree", "/etc", "/etc", {"tree", "tree/f", "tree/l"}),
        ("tree/.", "/etc", "/etc", {".", "./f", "./l"}),
        ("tree", "/new", "/", {"new", "new/f", "new/l"}),
        ("tree/f", "/etc", "/etc", {"f"}),
        ("tree/f", "/etc/renamed", "/etc", {"renamed"}),
        ("tree/f", "/link", "/etc", {"f"}),
        ("to-tree/", "/etc", "/etc", {"to-tree", "to-tree/f", "to-tree/l"}),
        ("to-tree/.", "/etc", "/etc", {".", "./f", "./l"}),
        ("to-tree/.", "/new", "/", {"new", "new/f", "new/l"}),
    ],
)
def test_into_a_container(
    daemon: CliDaemon, inside: Inside, tmp_path: Path, source: str, target: str, path: str, expected: set[str]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/f").write_bytes(b"x" * 700)
    (tmp_path / "tree/l").symlink_to("/etc/passwd")
    (tmp_path / "to-tree").symlink_to("tree")
    said = daemon.run("cp", f"{tmp_path}/{source}", f"web:{target}")
    assert (said.code, said.err) == (0, "")
    ((where, data),) = inside.put
    found = names(data)
    assert (where, set(found)) == (path, expected)
    assert b"x" * 700 in found.values()


def test_stdin_into_a_directory(daemon: CliDaemon, inside: Inside) -> None:
    assert daemon.run("cp", "-", "web:/etc", input=FILE).code == 0
    assert inside.put == [("/etc", FILE)]
    refused = daemon.run("cp", "-", "web:/a", input=FILE)
    assert refused.err == 'hawse: destination "web:/a" must be a directory\n'


def test_what_cannot_be_copied_in(daemon: CliDaemon, inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert "no such file" in daemon.run("cp", f"{tmp_path}/nope", "web:/etc").err
    assert "cannot copy a directory" in daemon.run("cp", f"{tmp_path}/d", "web:/a").err
    assert not inside.put


def test_packing_and_unpacking_keeps_content_modes_links_and_times(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/f").write_bytes(os.urandom(1_000_001))
    (source / "sub/f").chmod(0o751)
    os.utime(source / "sub/f", (1_000_000_000, 1_000_000_000))
    os.link(source / "sub/f", source / "hard")
    (source / "soft").symlink_to("sub/f")
    os.mkfifo(source / "pipe")
    (source / "sub").chmod(0o500)
    stream = pack(str(source), "source", keep_owner=False, follow=False)
    top = os.open(tmp_path, os.O_PATH)
    unpack(stream, top, "copy", rooted=True, keep_owner=False)
    os.close(top)
    copy = tmp_path / "copy"
    assert (copy / "sub/f").read_bytes() == (source / "sub/f").read_bytes()
    assert (copy / "sub/f").stat().st_mode == (source / "sub/f").stat().st_mode
    assert (copy / "sub/f").stat().st_mtime == 1_000_000_000
    assert (copy / "hard").stat().st_ino == (copy / "sub/f").stat().st_ino
    assert os.readlink(copy / "soft") == "sub/f"
    assert (copy / "pipe").is_fifo()
    assert (copy / "sub").stat().st_mode & 0o777 == 0o500
