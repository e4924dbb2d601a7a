"""What tests of real containers share: a spawner in namespaces of its own, a least root, a spec."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hawse.cli.selftest.waiting import PATIENCE
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.linux import process
from hawse.supervisor.runtime import boot
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.shim.specs import ProcessSpec, RootfsSpec, ShimSpec
from tests.netns.boxes import PRIVATE

CONTAINER = ContainerId("c0ffee" + "0" * 58)
UID_BASE = 3_000_000


@pytest.fixture
async def spawner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Spawner]:
    """In a mount and network namespace of its own, so that nothing of it can reach the machine's."""
    command = boot.command_line
    monkeypatch.setattr(boot, "command_line", lambda *given: [*PRIVATE, *command(*given)])
    made = await Spawner.start(tmp_path / "spawner")
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The least root: a static busybox."""
    lower = tmp_path / "lower"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (lower / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), lower / "bin/busybox")
    (lower / "bin/sh").symlink_to("busybox")
    (lower / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith("pytest-"):
            path.chmod(0o711)  # the mapped root walks through it
    return lower


@pytest.fixture
def spec(tmp_path: Path, root: Path) -> ShimSpec:
    for name in ("upper", "work", "root", "run"):
        (tmp_path / name).mkdir()
    for name in ("upper", "work"):
        os.chown(tmp_path / name, UID_BASE, UID_BASE)
    return ShimSpec(
        id=CONTAINER,
        hostname="probe",
        domainname="",
        state_dir=str(tmp_path),
        run_dir=str(tmp_path / "run"),
        socket=str(tmp_path / "run/shim.sock"),
        log_path=str(tmp_path / "log"),
        log_max_size=0,
        log_max_files=1,
        rootfs=RootfsSpec(
            lower=[str(root)], upper=str(tmp_path / "upper"), work=str(tmp_path / "work"), target=str(tmp_path / "root")
        ),
        process=ProcessSpec(argv=["sh", "-c", "true"], env=["PATH=/bin"]),
        mounts=[],
        uid_base=UID_BASE,
        uid_count=65536,
        net="new",
        cgroup_v2="",
        cgroup_v1=[],
        masked=[],
        read_only=[],
    )


def running(spec: ShimSpec, script: str, **process_: object) -> ShimSpec:
    made = ProcessSpec(argv=["sh", "-c", script], env=["PATH=/bin"], **process_)  # type: ignore[arg-type]
    return ShimSpec(**{**vars(spec), "process": made})


async def start(spawner: Spawner, spec: ShimSpec) -> Shim:
    shim = await spawner.launch(spec)
    assert "mounts" in await shim.wait_ready()
    assert {"mounts", "exec"} <= (await shim.open_gate()).keys()
    return shim


async def end(shim: Shim) -> None:
    await shim.release()
    shim.close()
    assert await gone(shim.shim_identity.pid)


async def gone(pid: int) -> bool:
    """A dead shim stays a zombie until the spawner has reaped it."""
    give_up = time.monotonic() + PATIENCE
    while process.identity(pid) is not None and time.monotonic() < give_up:
        await asyncio.sleep(0.005)
    return process.identity(pid) is None
