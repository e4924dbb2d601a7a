"""Paths of an image that lead through /proc/self/fd: out of the container, if a descriptor of the host is open in it then.

CVE-2024-21626 and its kind, with and without a user namespace: without one, no directory mode of the host helps.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from tests.netns.boxes import UID_BASE, Box, Boxes

DESCRIPTORS = range(3, 32)
USERNS = pytest.mark.parametrize("uid_base", [UID_BASE, None], ids=["userns", "host"])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A program of the host; every directory above it may be entered by anybody."""
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith("pytest-"):
            path.chmod(0o711)
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "tool").write_text("#!/bin/sh\necho escaped\n")
    (directory / "tool").chmod(0o755)
    return directory


def out(descriptor: int, path: Path) -> str:
    """`path` of the host, by way of a directory that may be open there."""
    return f"/proc/self/fd/{descriptor}{'/..' * 24}{path}"


@USERNS
async def test_the_program_is_not_one_of_the_hosts(boxes: Boxes, outside: Path, uid_base: int | None) -> None:
    for n in DESCRIPTORS:
        with pytest.raises(StartError, match="exec: "):
            await boxes.run(out(n, outside / "tool"), uid_base=uid_base)


@USERNS
async def test_the_path_does_not_lead_outside(boxes: Boxes, outside: Path, uid_base: int | None) -> None:
    path = ":".join(out(n, outside) for n in DESCRIPTORS)
    with pytest.raises(StartError, match=r"executable file not found in \$PATH"):
        await boxes.run("tool", env=[f"PATH={path}"], uid_base=uid_base)


@USERNS
async def test_the_working_directory_is_inside(boxes: Boxes, outside: Path, uid_base: int | None) -> None:
    for n in DESCRIPTORS:
        with pytest.raises(StartError, match="chdir to cwd"):
            await boxes.run("true", cwd=out(n, outside), uid_base=uid_base)
        with pytest.raises(StartError, match="chdir to cwd"):
            await boxes.run("true", cwd=out(n, outside / "new"), uid_base=uid_base)
    assert os.listdir(outside) == ["tool"]


@USERNS
async def test_users_are_those_of_the_image(boxes: Boxes, outside: Path, uid_base: int | None) -> None:
    (outside / "passwd").write_text("hostly:x:1234:1234::/:/bin/sh\n")
    (outside / "group").write_text("hostly:x:4321:\n")
    for name in ("passwd", "group"):
        (boxes.lower / "etc" / name).unlink()
    for n in DESCRIPTORS:
        for name in ("passwd", "group"):
            link = boxes.path / f"{name}-{n}"
            link.symlink_to(out(n, outside / name))
            os.replace(link, boxes.lower / "etc" / name)
        for user in ("hostly", "0:hostly"):
            with pytest.raises(StartError):
                await boxes.run("true", user=user, uid_base=uid_base)


@USERNS
async def test_an_exec_finds_its_program_inside(boxes: Boxes, outside: Path, uid_base: int | None) -> None:
    box = await boxes.start(boxes.spec("sleep", "600", uid_base=uid_base))
    for n in DESCRIPTORS:
        with pytest.raises(StartError, match="exec: "):
            await box.exec(out(n, outside / "tool"))
        with pytest.raises(StartError, match="chdir to cwd"):
            await box.exec("true", cwd=out(n, outside))
    await box.shim.abort()


@USERNS
async def test_no_directory_of_the_host_is_open_when_the_image_is_looked_at(boxes: Boxes, uid_base: int | None) -> None:
    """Init waits at the gate with what it looked the program up with: sockets, pipes and the container's own root."""
    found: list[str] = []

    async def look(box: Box) -> None:
        directory = f"/proc/{box.shim.pid}/fd"
        root = os.stat(f"/proc/{box.shim.pid}/root")
        for name in os.listdir(directory):
            status = os.stat(f"{directory}/{name}")
            if stat.S_ISDIR(status.st_mode) and not os.path.samestat(status, root):
                found.append(os.readlink(f"{directory}/{name}"))

    box = await boxes.start(boxes.spec("true", uid_base=uid_base), look)
    await box.finish()
    assert found == []
