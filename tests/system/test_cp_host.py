"""The host's side of cp, export -o and --cidfile: its device nodes, and a container that lays links in the way of a copy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab

VERBS = {
    "cp file": (("cp", "box:/etc/passwd", "{}"), "must be a directory or a regular file: got a device"),
    "cp directory": (("cp", "box:/etc", "{}"), "must be a directory or a regular file: got a device"),
    "export -o": (("export", "-o", "{}", "box"), "cannot write to a {} device file"),
    "--cidfile": (("create", "--cidfile", "{}", "busybox"), "container ID file found"),
}


@pytest.fixture
def place(lab: Lab) -> Iterator[Path]:
    """A directory of the host with device nodes in it, and a container "box" that runs."""
    place = lab.share / "place"
    place.mkdir()
    os.mknod(place / "character", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(place / "block", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    (place / "to-character").symlink_to("character")
    (place / "to-block").symlink_to(place / "block")
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    yield place
    lab.hawse("rm", "-f", "box")
    lab.run(["rm", "-rf", str(place)])


def state(place: Path) -> dict[str, tuple[int, int, int]]:
    return {p.name: (p.lstat().st_ino, p.lstat().st_mode, p.lstat().st_rdev) for p in place.iterdir()}


@pytest.mark.parametrize("verb", VERBS)
def test_a_device_node_stays_what_it_is(lab: Lab, place: Path, verb: str) -> None:
    argv, message = VERBS[verb]
    before = state(place)
    for name in before:
        said = lab.hawse(*(word.format(place / name) for word in argv), check=False)
        assert said.code == (125 if verb == "--cidfile" else 1)
        assert message.format(name.removeprefix("to-")) in said.err
    assert state(place) == before
    assert lab.hawse("ps", "-aq").out.count("\n") == 1


def test_a_file_does_not_take_the_place_of_a_device_below_the_destination(lab: Lab, place: Path) -> None:
    before = state(place)
    for name in ("character", "block"):
        lab.hawse("exec", "box", "sh", "-c", f"mkdir -p /out; rm -f /out/*; echo text > /out/{name}")
        for source in ("box:/out/.", f"box:/out/{name}"):
            said = lab.hawse("cp", source, place, check=False)
            assert (said.code, said.err) == (1, f'hawse: cannot overwrite device "{name}" with non-device\n')
        lab.hawse("exec", "box", "sh", "-c", f"rm /out/{name}; mkdir /out/{name}")
        said = lab.hawse("cp", "box:/out/.", place, check=False)
        assert (said.code, said.err) == (1, f'hawse: cannot overwrite non-directory "{name}" with directory\n')
    assert state(place) == before


@pytest.mark.parametrize("flags", [(), ("-a",)], ids=["", "-a"])
@pytest.mark.parametrize("source", ["/out", "/out/."])
def test_a_container_that_swaps_a_link_for_a_directory_between_two_copies(
    lab: Lab, place: Path, flags: tuple[str, ...], source: str
) -> None:
    """The first copy brings a link out of the tree; the second must not write through it."""
    victim = lab.share / "victim"
    victim.mkdir(mode=0o700)
    (victim / "passwd").write_text("of the host")
    lab.hawse("exec", "box", "sh", "-c", f"mkdir /out; ln -s {victim} /out/door")
    lab.hawse("cp", *flags, f"box:{source}", place)
    swap = "rm /out/door; mkdir -m 777 /out/door; echo evil > /out/door/passwd; chmod 4777 /out/door/passwd"
    lab.hawse("exec", "box", "sh", "-c", swap)
    door = place / "door" if source.endswith("/.") else place / "out" / "door"
    assert door.is_symlink()
    lab.hawse("cp", *flags, f"box:{source}", place)
    assert (victim / "passwd").read_text() == "of the host"
    assert (os.listdir(victim), stat.S_IMODE(victim.stat().st_mode)) == (["passwd"], 0o700)
    assert not door.is_symlink() and (door / "passwd").read_text() == "evil\n"
    lab.run(["rm", "-rf", str(victim)])


def test_a_link_that_the_user_named_is_followed(lab: Lab, place: Path) -> None:
    (place / "real").write_text("old")
    (place / "l").symlink_to("real")
    lab.hawse("cp", "box:/etc/passwd", place / "l")
    assert (place / "l").is_symlink() and "root" in (place / "real").read_text()
    lab.hawse("export", "-o", place / "l", "box")
    assert (place / "l").is_symlink() and (place / "real").stat().st_size > 100_000
    lab.hawse("cp", "box:/etc", place / "l", check=False)
    assert (place / "real").is_file()
