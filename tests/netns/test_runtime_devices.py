"""The device nodes of a container are its own: what it does to them stays there.  The host's /dev is a private one here."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.netns import boxes
from tests.netns.boxes import UID_BASE, Boxes

NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
MAKE = " && ".join(f"mknod -m 666 /dev/{name} c {major} {minor}" for name, (major, minor) in NODES.items())
OWN_DEV = (*boxes.PRIVATE, "sh", "-c", f'mount -t tmpfs dev /dev && {MAKE} && exec "$@"', "own-dev")


@pytest.fixture
async def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Boxes]:
    monkeypatch.setattr(boxes, "PRIVATE", OWN_DEV)
    async with Boxes(tmp_path) as made:
        yield made


@pytest.mark.parametrize("uid_base", [UID_BASE, None], ids=["userns", "host"])
async def test_what_a_container_does_to_its_devices_is_not_done_to_the_hosts(
    private: Boxes, uid_base: int | None
) -> None:
    spec = private.spec(
        "sh",
        "-c",
        f"chmod 0 /dev/[!ps]*; chown 1 /dev/extra {' '.join(f'/dev/{name}' for name in NODES)}; echo changed; sleep 100",
        uid_base=uid_base,
        devices=[["/dev/full", "/dev/extra"]],
    )
    box = await private.start(spec)
    await box.wait_said("changed")
    host = Path(f"/proc/{box.shim.shim_identity.pid}/root/dev")
    for name in NODES:
        status = (host / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o666, 0, 0), name


@pytest.mark.parametrize("uid_base", [UID_BASE, None], ids=["userns", "host"])
async def test_devices_belong_to_whom_they_do_on_the_host(private: Boxes, uid_base: int | None) -> None:
    ended = await private.sh(
        "stat -c '%n %a %u %g %t:%T' /dev/null /dev/extra; head -c 3 /dev/extra | wc -c; touch /dev/null && echo touched",
        uid_base=uid_base,
        devices=[["/dev/zero", "/dev/extra"]],
    )
    assert ended.lines == ["/dev/null 666 0 0 1:3", "/dev/extra 666 0 0 1:5", "3", "touched"]


async def test_a_restart_has_them_as_new(private: Boxes) -> None:
    spec = private.spec("sh", "-c", "stat -c %a /dev/full; chmod 600 /dev/full")
    assert (await (await private.start(spec)).finish()).lines == ["666"]
    assert (await (await private.start(spec)).finish()).lines == ["666"] * 2


async def test_a_file_is_no_device(private: Boxes) -> None:
    with pytest.raises(Exception, match="/etc/passwd is not the device it should be"):
        await private.run("true", devices=[["/etc/passwd", "/dev/extra"]])
