"""-v: what is written inside looks on the host as it would with docker, and read-only is read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab


@pytest.fixture
def directory(lab: Lab) -> Iterator[Path]:
    path = lab.share / "data"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


@pytest.mark.parametrize(("user", "owner"), [("root", 0), ("app", 1000), ("4321:4321", 4321)])
def test_ownership_on_the_host_is_the_one_inside(lab: Lab, directory: Path, user: str, owner: int) -> None:
    lab.hawse("run", "--rm", "-u", user, "-v", f"{directory}:/data", "busybox", "sh", "-c", "echo x > /data/file")
    assert (directory / "file").stat().st_uid == owner
    assert (directory / "file").read_text() == "x\n"


def test_ownership_inside_is_the_one_on_the_host(lab: Lab, directory: Path) -> None:
    (directory / "file").touch()
    os.chown(directory / "file", 1000, 50)
    shown = lab.hawse("run", "--rm", "-v", f"{directory}:/data", "busybox", "stat", "-c", "%U:%G", "/data/file").out
    assert shown == "app:staff\n"


def test_without_a_user_namespace_it_is_the_same(lab: Lab, directory: Path) -> None:
    lab.hawse("run", "--rm", "--userns", "host", "-v", f"{directory}:/data", "busybox", "touch", "/data/file")
    assert (directory / "file").stat().st_uid == 0


def test_read_only(lab: Lab, directory: Path) -> None:
    refused = lab.hawse("run", "--rm", "-v", f"{directory}:/data:ro", "busybox", "touch", "/data/file", check=False)
    assert refused.code == 1
    assert "Read-only file system" in refused.err
    assert not list(directory.iterdir())


def test_a_single_file(lab: Lab, directory: Path) -> None:
    (directory / "conf").write_text("from the host\n")
    shown = lab.hawse(
        "run", "--rm", "-v", f"{directory}/conf:/etc/deep/er/conf:ro", "busybox", "cat", "/etc/deep/er/conf"
    )
    assert shown.out == "from the host\n"


def test_two_containers_share(lab: Lab, directory: Path) -> None:
    lab.hawse("run", "--rm", "-v", f"{directory}:/a", "busybox", "sh", "-c", "echo shared > /a/file; chmod 600 /a/file")
    assert lab.hawse("run", "--rm", "-v", f"{directory}:/b", "busybox", "cat", "/b/file").out == "shared\n"


def test_a_mount_over_a_symlink_stays_inside(lab: Lab, directory: Path) -> None:
    """CVE-2021-30465 and its kin: a link inside the image must not lead the mount out of the root."""
    lab.hawse("run", "--name", "linked", "busybox", "ln", "-s", "/run/hawse", "/data")
    lab.hawse("commit", "linked", "linked:1")
    lab.hawse("rm", "linked")
    (directory / "file").write_text("here\n")
    shown = lab.hawse("run", "--rm", "-v", f"{directory}:/data", "linked:1", "cat", "/run/hawse/file")
    assert shown.out == "here\n"
    assert not (lab.inside / "run/hawse/file").exists()
    lab.hawse("image", "rm", "linked:1")


def test_files_of_the_image_are_owned_as_in_the_image(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "stat", "-c", "%u:%g %a", "/bin/busybox", "/home/app", "/tmp").out
    assert shown.splitlines() == ["0:0 755", "1000:1000 750", "0:0 1777"]


def test_a_volume_is_free_when_the_container_that_removes_itself_has_ended(lab: Lab) -> None:
    """`run --rm` answers at the exit; what is still being cleaned up is waited for by whoever wants it."""
    for _ in range(3):
        lab.hawse("run", "--rm", "-v", "brief:/data", "busybox", "true")
        assert lab.daemon.request("DELETE", "/volumes/brief")[0] == 204
        assert lab.hawse("volume", "ls", "-q").out == ""
