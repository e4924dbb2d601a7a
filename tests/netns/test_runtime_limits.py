"""What of the machine's one container can use up, or has from the daemon's session."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns import boxes
from tests.netns.boxes import Boxes

NR_ADD_KEY, NR_KEYCTL = (217, 219) if os.uname().machine == "aarch64" else (248, 250)
SECRET = "of-the-daemons-session"
# Joins a new session keyring and puts a key into it (KEY_SPEC_SESSION_KEYRING), then executes the rest.
WITH_KEY = (
    f"import ctypes, os, sys; libc = ctypes.CDLL(None); libc.syscall({NR_KEYCTL}, 1, None); "
    f"assert libc.syscall({NR_ADD_KEY}, b'user', b'{SECRET}', b'x', 1, -3) > 0; os.execvp(sys.argv[1], sys.argv[1:])"
)

# KEYCTL_SEARCH, by which a key is got hold of
FIND = (
    f"import ctypes; libc = ctypes.CDLL(None); "
    f"print('found' if libc.syscall({NR_KEYCTL}, 10, -3, b'user', b'{SECRET}', 0) > 0 else 'not found')"
)


@pytest.fixture
async def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Boxes]:
    """Their spawner has a key in its session, as a daemon started by hand has its user's."""
    monkeypatch.setattr(boxes, "PRIVATE", (*boxes.PRIVATE, sys.executable, "-c", WITH_KEY))
    async with Boxes(tmp_path) as made:
        yield made


@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="this machine's kernel has no keys")
async def test_a_container_has_a_session_keyring_of_its_own(keyed: Boxes) -> None:
    look = [sys.executable, "-I", "-S", "-c", FIND]
    spec = keyed.spec("sleep", "100", uid_base=None, env=["PATH=/bin:/usr/bin"])
    box = await keyed.start(replace(spec, rootfs=replace(spec.rootfs, lower=["/"])))  # with this interpreter in it
    assert await box.exec(*look) == (0, "not found\n", "")
    spec = keyed.spec(*look, uid_base=None, env=["PATH=/bin:/usr/bin"])
    ended = await (await keyed.start(replace(spec, rootfs=replace(spec.rootfs, lower=["/"])))).finish()
    assert ended.stdout == "not found\n"


async def test_terminals_are_left_for_others(keyed: Boxes) -> None:
    options = (await keyed.sh("grep ' /dev/pts ' /proc/mounts")).lines[0].split()[3].split(",")
    assert "max=512" in options
