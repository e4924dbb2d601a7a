"""What comes out of a hostile container stays below the destination, whatever an earlier copy has left there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.files.packing import pack
from tests.unit.cli.archive import DIRECTORY, LINK, TREE, Inside, tar
from tests.unit.cli.daemon import CliDaemon, Said

TOP = ("x", "d", b"")
KINDS = ("regular", "link", "dangling", "link to directory", "directory", "fifo", "socket")
ENTRIES = ("file", "link", "hard link", "directory", "file in a directory")


class Copy:
    """`hawse cp` of one directory out of a container, with the archive that the test makes."""

    def __init__(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        self.daemon = CliDaemon(tmp_path / "run")
        self.inside = Inside(self.daemon)
        self.inside.stats["/x"] = (DIRECTORY | 0o755, "")
        self.victim = tmp_path / "victim"
        self.victim.mkdir()
        (self.victim / "f").write_text("mine")
        (self.victim / "f").chmod(0o600)
        os.utime(self.victim / "f", (1, 1))
        self.out = tmp_path / "out"
        self.out.mkdir()
        self._untouched = self._state()

    def run(self, *members: tuple[str, str, bytes], source: str = "/x/.", target: str = "") -> Said:
        self.inside.archives["/x"] = tar(*members)
        said = self.daemon.run("cp", f"web:{source}", f"{self.out}{target}")
        assert "Traceback" not in said.err
        assert self._state() == self._untouched
        return said

    def _state(self) -> list[tuple[str, int, int, int, bytes]]:
        """Access and change times are left out: reading and linking set them."""
        found = []
        for path in sorted(self.victim.iterdir()):
            status = path.lstat()
            found.append((path.name, status.st_mode, status.st_nlink, status.st_mtime_ns, path.read_bytes()))
        return found


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    made = Copy(tmp_path)
    yield made
    made.daemon.close()


@pytest.mark.parametrize("target", ["", "/new"])
@pytest.mark.parametrize(
    "members",
    [
        (("x/../../victim/f", "f", b"evil"),),
        (TOP, ("x/door", "l", b"{victim}"), ("x/door/f", "f", b"evil")),
        (TOP, ("x/door", "l", b"{victim}"), ("x/door", "d", b""), ("x/door/f", "f", b"evil")),
        (TOP, ("x/door", "l", b"{victim}"), ("x/hard", "h", b"x/door/f"), ("x/hard", "f", b"evil")),
        (TOP, ("x/door", "l", b"{victim}/f"), ("x/hard", "h", b"x/door"), ("x/hard", "f", b"evil")),
        (TOP, ("x/hard", "h", b"../victim/f"), ("x/hard", "f", b"evil")),
        (TOP, ("x/hard", "h", b"x"), ("x/hard", "h", b"x/hard")),
        (("/x", "d", b""), ("{victim}/f", "f", b"evil")),
        (("x", "l", b"{victim}"), ("x/f", "f", b"evil")),
    ],
)
def test_nothing_in_an_archive_leads_outside(
    copy: Copy, members: tuple[tuple[str, str, bytes], ...], target: str
) -> None:
    victim = str(copy.victim)
    copy.run(
        *(
            (name.format(victim=victim), kind, text.replace(b"{victim}", victim.encode()))
            for name, kind, text in members
        ),
        target=target,
    )


@pytest.mark.parametrize("depth", ["", "a/b/"])
@pytest.mark.parametrize("source", ["/x/.", "/x"])
def test_the_second_copy_does_not_go_through_a_link_that_the_first_has_left(
    copy: Copy, source: str, depth: str
) -> None:
    above = () if not depth else (("x/a", "d", b""), ("x/a/b", "d", b""))
    door = f"x/{depth}door"
    assert copy.run(TOP, *above, (door, "l", str(copy.victim).encode()), source=source).code == 0
    said = copy.run(TOP, *above, (door, "d", b""), (f"{door}/f", "f", b"evil"), source=source)
    assert (said.code, said.err) == (0, "")
    made = copy.out / ("" if source.endswith("/.") else "x") / depth / "door"
    assert not made.is_symlink() and (made / "f").read_text() == "evil"


def test_a_hard_link_does_not_go_through_a_link_that_the_first_copy_has_left(copy: Copy) -> None:
    copy.run(TOP, ("x/door", "l", str(copy.victim).encode()))
    said = copy.run(TOP, ("x/hard", "h", b"x/door/f"))
    assert (said.code, said.err) == (1, 'hawse: cannot link "hard" to "door/f": not in the archive\n')


def test_a_hard_link_does_not_change_the_mode_of_what_was_there(copy: Copy) -> None:
    (copy.out / "secret").write_text("mine")
    (copy.out / "secret").chmod(0o600)
    copy.run(TOP, ("x/hard", "h", b"x/secret"))
    assert stat.S_IMODE((copy.out / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_the_way_of_an_entry(copy: Copy, kind: str, entry: str) -> None:
    """Files are replaced, links too, and not what they lead to; a directory and anything else never take each other's place."""
    there = copy.out / "there"
    match kind:
        case "regular":
            there.write_text("old")
        case "link" | "dangling" | "link to directory":
            there.symlink_to(copy.victim / {"link": "f", "dangling": "nothing", "link to directory": ""}[kind])
        case "directory":
            there.mkdir()
            (there / "kept").write_text("old")
        case "fifo":
            os.mkfifo(there)
        case "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(there))
    before = there.lstat()
    members: dict[str, tuple[tuple[str, str, bytes], ...]] = {
        "file": (("x/there", "f", b"new"),),
        "link": (("x/there", "l", b"first"),),
        "hard link": (("x/there", "h", b"x/first"),),
        "directory": (("x/there", "d", b""),),
        "file in a directory": (("x/there/f", "f", b"new"),),
    }
    said = copy.run(TOP, ("x/first", "f", b"new"), *members[entry])
    wants_directory = "directory" in entry
    gives_way = kind in ("link", "dangling", "link to directory")
    refused = (kind == "directory") != wants_directory and not (wants_directory and gives_way)
    if refused:
        old, new = ("directory", "non-directory") if kind == "directory" else ("non-directory", "directory")
        assert (said.code, said.err) == (1, f'hawse: cannot overwrite {old} "there" with {new}\n')
        assert os.path.samestat(there.lstat(), before)
        return
    assert (said.code, said.err) == (0, "")
    assert there.is_symlink() == (entry == "link")
    assert there.is_dir() == wants_directory
    assert (there / "kept").exists() == (kind == "directory")
    if entry != "directory":
        assert (there / "f" if wants_directory else there).read_text() == "new"


def test_a_directory_that_the_container_swaps_keeps_its_mode_and_time(copy: Copy) -> None:
    """Modes and times are set last, when a name may have become something else."""
    copy.run(TOP, ("x/d", "d", b""), ("x/d/f", "f", b""))
    assert stat.S_IMODE((copy.out / "d").stat().st_mode) == 0o755
    said = copy.run(TOP, ("x/d", "d", b""), ("x/d", "l", str(copy.victim).encode()))
    assert said.code == 1 and "cannot overwrite directory" in said.err
    assert (copy.out / "d").is_dir() and not (copy.out / "d").is_symlink()


def test_the_destination_itself_stays_as_it_is(copy: Copy) -> None:
    copy.out.chmod(0o700)
    assert copy.daemon.run("cp", "web:/etc/.", str(copy.out)).code == 0
    assert copy.out.stat().st_mode & 0o777 == 0o700
    assert (copy.out / "a").read_text() == "A"


@pytest.mark.parametrize("source", ["/", "/.", ".", "..", "/etc/.."])
def test_the_whole_root_goes_where_it_was_told_to(copy: Copy, source: str) -> None:
    """The archive of / has no top entry that could be renamed."""
    copy.inside.stats["/"], copy.inside.archives["/"] = (DIRECTORY | 0o755, ""), TREE
    assert copy.daemon.run("cp", f"web:{source}", f"{copy.out}/new").code == 0
    assert [p.name for p in copy.out.iterdir()] == ["new"]
    assert (copy.out / "new/etc/sub/b").exists()
    assert copy.daemon.run("cp", f"web:{source}", str(copy.out)).code == 0
    assert sorted(p.name for p in copy.out.iterdir()) == ["etc", "new"]


def test_a_link_to_the_root_is_copied_under_the_link_s_name(copy: Copy) -> None:
    copy.inside.stats |= {"/d/l": (0o777 | LINK, "../"), "/": (DIRECTORY | 0o755, "")}
    copy.inside.archives["/"] = TREE
    assert copy.daemon.run("cp", "-L", "web:/d/l", str(copy.out)).code == 0
    assert (copy.out / "l/etc/a").read_text() == "A"


def test_a_file_that_becomes_a_link_while_it_is_packed_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "file").write_text("text")
    stream = pack(str(tmp_path / "file"), "file", keep_owner=False, follow=False)
    next(stream)
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        list(stream)
