"""A new volume over a directory of the image: it begins with what the image has there, as with docker."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The busybox root with a directory /data in it: owners, modes, a symlink, a hard link, and a deep file."""
    path = tmp_path_factory.mktemp("root") / "root.tar"
    path.write_bytes(busybox_tar().read_bytes())
    with tarfile.open(path, "a") as tar:

        def add(name: str, kind: bytes, mode: int, owner: int = 0, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.size, info.linkname = (
                kind,
                mode,
                owner,
                owner,
                len(data),
                link,
            )
            info.mtime = 1_000_000_000
            tar.addfile(info, io.BytesIO(data))

        add("data", tarfile.DIRTYPE, 0o2770, 1000)
        add("data/own", tarfile.REGTYPE, 0o4640, 33, b"of the image\n")
        add("data/sub", tarfile.DIRTYPE, 0o700, 4321)
        add("data/sub/deep", tarfile.REGTYPE, 0o600, 4321, b"deep\n")
        add("data/link", tarfile.SYMTYPE, 0o777, 7, link="sub/deep")
        add("data/twin", tarfile.LNKTYPE, 0o640, 33, link="data/own")
    return path


@pytest.fixture
def image(lab: Lab, archive: Path) -> Iterator[str]:
    lab.hawse("image", "import", "--change", "VOLUME /data", "-", "stocked", input=archive.read_bytes())
    yield "stocked"
    lab.hawse("rm", "-f", "-v", "box", check=False)
    lab.hawse("volume", "rm", "-f", "vol")
    lab.hawse("image", "rm", "stocked")


def _looks(directory: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(directory))] = (status.st_mode & 0o7777, status.st_uid, status.st_gid)
    return found


LOOKS = {
    ".": (0o2770, 1000, 1000),
    "own": (0o4640, 33, 33),
    "twin": (0o4640, 33, 33),
    "sub": (0o700, 4321, 4321),
    "sub/deep": (0o600, 4321, 4321),
    "link": (0o777, 7, 7),
}


@pytest.mark.parametrize("flags", [(), ("--userns", "host")])
def test_files_owners_and_modes(lab: Lab, image: str, flags: tuple[str, ...]) -> None:
    lab.hawse("create", "--name", "box", *flags, "-v", "vol:/data", image, "sh", "-c", "stat -c '%a %u %h' /data/own")
    place = lab.root / "volumes" / "vol"
    assert _looks(place) == LOOKS
    assert (place / "own").samefile(place / "twin") and os.readlink(place / "link") == "sub/deep"
    assert (place / "own").stat().st_mtime == (place / "sub").stat().st_mtime == 1_000_000_000
    assert lab.hawse("start", "-a", "box").out == "4640 33 2\n"


def test_the_image_s_own_volumes(lab: Lab, image: str) -> None:
    lab.hawse("run", "--name", "box", image, "cat", "/data/sub/deep")
    (mount,) = lab.inspect("box")["Mounts"]
    assert mount["Destination"] == "/data" and _looks(Path(mount["Source"])) == LOOKS
    lab.hawse("rm", "-v", "box")
    assert not Path(mount["Source"]).exists()


def test_what_was_deleted_stays_deleted(lab: Lab, image: str) -> None:
    """Only a new container fills a volume; one that was emptied is empty when it starts again."""
    script = "ls /data | wc -l; rm -rf /data/*"
    lab.hawse("create", "--name", "box", "-v", "vol:/data", image, "sh", "-c", script)
    assert [lab.hawse("start", "-a", "box").out.strip() for _ in range(2)] == ["4", "0"]


def test_a_volume_with_something_in_it_is_left_alone(lab: Lab, image: str) -> None:
    lab.hawse("run", "--rm", "-v", "vol:/x", "busybox", "touch", "/x/kept")
    assert lab.hawse("run", "--rm", "-v", "vol:/data", image, "ls", "/data").out == "kept\n"


@pytest.mark.parametrize(
    "flags", [("-v", "vol:/data:nocopy"), ("--mount", "source=vol,target=/data,volume-nocopy"), ("-v", "{share}:/data")]
)
def test_nothing_is_copied(lab: Lab, image: str, flags: tuple[str, ...]) -> None:
    empty = lab.share / "empty"
    empty.mkdir()
    flags = tuple(flag.format(share=empty) for flag in flags)
    lab.hawse("create", "--name", "box", *flags, image, "ls", "/data")
    assert lab.hawse("start", "-a", "box").out == "" and not list(empty.iterdir())
    host = lab.inspect("box")["HostConfig"]
    if flags[0] == "--mount":
        (mount,) = host["Mounts"]
        assert (mount["Source"], mount["Target"], mount["VolumeOptions"]["NoCopy"]) == ("vol", "/data", True)
    elif "nocopy" in flags[1]:
        assert host["Binds"] == ["vol:/data:nocopy"]
    empty.rmdir()


def test_from_all_layers_of_the_image(lab: Lab, image: str) -> None:
    lab.hawse("run", "--name", "box", "-v", "vol:/elsewhere", "busybox", "sh", "-c", "mkdir /data; echo up > /data/new")
    lab.hawse("commit", "box", "layered:1")
    lab.hawse("run", "--name", "next", "layered:1", "sh", "-c", "rm /data/new; echo top > /data/top")
    lab.hawse("commit", "next", "layered:2")
    lab.hawse("run", "--rm", "-v", "vol:/data", "layered:2", "true")
    assert [path.name for path in (lab.root / "volumes" / "vol").iterdir()] == ["top"]
    lab.hawse("rm", "next")
    lab.hawse("image", "rm", "layered:1", "layered:2")


def test_a_file_is_in_the_way(lab: Lab, image: str) -> None:
    refused = lab.hawse("create", "-v", "/etc/passwd", image, "true", check=False)
    assert "cannot mount volume over existing file, file exists /etc/passwd" in refused.err
    assert lab.hawse("volume", "ls", "-q").out == "" and lab.hawse("ps", "-aq").out == ""


def test_labels_of_a_mount_are_the_new_volume_s(lab: Lab, image: str) -> None:
    lab.hawse("create", "--name", "box", "--mount", "source=vol,target=/x,volume-label=a=b", image, "true")
    assert lab.hawse("volume", "ls", "-q", "--filter", "label=a=b").out == "vol\n"
