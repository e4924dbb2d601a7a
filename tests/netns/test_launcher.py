"""The daemon's end against the real spawner and shim: what unit/runtime/test_client.py states with a fake shim."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.waiting import PATIENCE, eventually
from hawse.supervisor.core.errors import KernelError, StartError, Unavailable
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.runtime.exitrecord import read_exit_record
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.shim.specs import ProcessSpec, RootfsSpec, ShimSpec
from tests.netns.launching import CONTAINER, end, gone, root, running, spawner, spec, start

__all__ = ["root", "spawner", "spec"]  # fixtures


async def test_a_container_from_start_to_exit(spawner: Spawner, spec: ShimSpec, tmp_path: Path) -> None:
    began = time.time_ns()
    shim = await start(spawner, running(spec, "echo hello; exit 7"))
    assert shim.identity.start_time > 0
    ended = await shim.wait_exit()
    assert (ended.code, ended.signal, ended.oom) == (7, None, False)
    assert began <= ended.started_at <= ended.finished_at <= time.time_ns()
    assert read_exit_record(tmp_path) == ended
    assert b"stdout F hello\n" in (tmp_path / "log").read_bytes()
    await end(shim)


async def test_the_netlink_socket_is_of_the_container_s_namespace(spawner: Spawner, spec: ShimSpec) -> None:
    shim = await spawner.launch(running(spec, "exec busybox sleep 1000"))
    assert shim.netlink is not None and shim.netlink.family == socket.AF_NETLINK
    await shim.wait_ready()
    await shim.open_gate()
    with await shim.netlink_socket() as again:
        assert again.family == socket.AF_NETLINK
    assert os.stat(f"/proc/{shim.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    assert shim.kill(signal.SIGKILL)
    ended = await shim.wait_exit()
    assert (ended.code, ended.signal) == (137, 9)
    await end(shim)


@pytest.mark.parametrize(("argv", "code"), [(["nonesuch"], 127), (["/etc/passwd"], 126)])
async def test_a_program_that_cannot_be_executed(
    spawner: Spawner, spec: ShimSpec, argv: list[str], code: int, tmp_path: Path
) -> None:
    shim = await spawner.launch(ShimSpec(**{**vars(spec), "process": ProcessSpec(argv=argv, env=["PATH=/bin"])}))
    with pytest.raises(StartError) as caught:
        await shim.wait_ready()
        await shim.open_gate()
    assert caught.value.exit_code == code
    await shim.abort()
    shim.close()
    assert read_exit_record(tmp_path) is None


async def test_a_start_that_is_aborted_at_the_gate(spawner: Spawner, spec: ShimSpec) -> None:
    shim = await spawner.launch(spec)
    await shim.wait_ready()
    init, keeper = shim.pid, shim.shim_identity.pid
    await shim.abort()
    shim.close()
    assert await gone(init)
    assert await gone(keeper)


async def test_mounts_that_cannot_be_made(spawner: Spawner, spec: ShimSpec) -> None:
    broken = RootfsSpec(
        lower=["/nonexistent"], upper=spec.rootfs.upper, work=spec.rootfs.work, target=spec.rootfs.target
    )
    with pytest.raises(StartError):
        shim = await spawner.launch(ShimSpec(**{**vars(spec), "rootfs": broken}))
        try:
            await shim.wait_ready()
        finally:
            await shim.abort()
            shim.close()


async def test_attach_exec_resize(spawner: Spawner, spec: ShimSpec) -> None:
    shim = await start(spawner, running(spec, "read x; echo got $x; exit 3", stdin=True))
    here, there = socket.socketpair()
    with here:
        await shim.attach(there.fileno(), b"early", AttachOptions(stdin=True))
        there.close()
        assert await shim.exec("e1", ProcessSpec(argv=["sh", "-c", "exit 5"], env=["PATH=/bin"])) > 0
        assert await shim.exec_exit("e1") == 5
        with pytest.raises(StartError) as caught:
            await shim.exec("e2", ProcessSpec(argv=["nonesuch"], env=["PATH=/bin"]))
        assert caught.value.exit_code == 127
        with pytest.raises(KernelError):
            await shim.resize(24, 80, "e9")
        here.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(here, b" bird\n")
        said = b""
        while chunk := await asyncio.wait_for(loop.sock_recv(here, 100), PATIENCE):
            said += chunk
        assert said == b"got early bird\n"
    assert (await shim.wait_exit()).code == 3
    await end(shim)


async def test_another_daemon_finds_the_shim_and_its_end(spawner: Spawner, spec: ShimSpec, tmp_path: Path) -> None:
    first = await start(spawner, running(spec, "read x; exit 4", stdin=True))
    init = first.identity
    assert await first.exec("e1", ProcessSpec(argv=["busybox", "sleep", "1000"], env=["PATH=/bin"])) > 0
    first.close()
    second = await Shim.reconnect(Path(spec.socket), CONTAINER, tmp_path)
    assert second.identity == init
    assert second.shim_identity == first.shim_identity
    assert "exec" in await second.wait_ready()
    here, there = socket.socketpair()
    await second.attach(there.fileno(), b"bye\n", AttachOptions(stdin=True))
    there.close()
    assert (await second.wait_exit()).code == 4
    assert await second.exec_exit("e1") == 137
    here.close()
    await end(second)
    with pytest.raises(Unavailable):
        await Shim.reconnect(Path(spec.socket), CONTAINER, tmp_path)


async def test_a_killed_shim_takes_its_container_along(spawner: Spawner, spec: ShimSpec) -> None:
    shim = await start(spawner, running(spec, "exec busybox sleep 1000"))
    os.kill(shim.shim_identity.pid, signal.SIGKILL)
    ended = await shim.wait_exit()
    assert ended.code is None and "no exit record" in ended.reason
    assert await shim.wait_init_dead(60)
    shim.close()


async def test_containers_outlive_their_spawner(spawner: Spawner, spec: ShimSpec) -> None:
    shim = await start(spawner, running(spec, "read x; exit 6", stdin=True))
    os.kill(spawner.pid, signal.SIGKILL)
    await asyncio.wait_for(spawner.wait_dead(), PATIENCE)
    assert not spawner.alive
    with pytest.raises(StartError, match="the spawner is gone"):
        await spawner.launch(spec)
    here, there = socket.socketpair()
    await shim.attach(there.fileno(), b"x\n", AttachOptions(stdin=True))
    there.close()
    assert (await shim.wait_exit()).code == 6
    here.close()
    await shim.release()
    shim.close()


async def test_many_at_once(spawner: Spawner, spec: ShimSpec, tmp_path: Path) -> None:
    specs = []
    for number in range(8):
        directory = tmp_path / str(number)
        for name in ("upper", "work", "root", "run"):
            (directory / name).mkdir(parents=True)
        rootfs = RootfsSpec(
            lower=spec.rootfs.lower, upper=f"{directory}/upper", work=f"{directory}/work", target=f"{directory}/root"
        )
        changed = {
            "id": f"{number:064x}", "state_dir": str(directory), "run_dir": f"{directory}/run", "rootfs": rootfs,
            "socket": f"{directory}/run/shim.sock", "log_path": f"{directory}/log", "uid_base": None,
        }  # fmt: skip
        specs.append(running(ShimSpec(**{**vars(spec), **changed}), f"exit {number}"))

    async def whole(one: ShimSpec) -> int | None:
        shim = await start(spawner, one)
        ended = await shim.wait_exit()
        await end(shim)
        return ended.code

    assert await asyncio.gather(*map(whole, specs)) == list(range(8))


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    fds = _descriptors()
    yield
    eventually(lambda: not _children_of_the_spawner(tmp_path))
    eventually(lambda: not _descriptors() - fds)


def _children_of_the_spawner(tmp_path: Path) -> str:
    """The spawner and whatever it has forked: its directory is in their command line."""
    return subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout


def _descriptors() -> Counter[str]:
    """What this process has open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # the one that lists
    return Counter(found)
