"""The first process, and who outlives whom: reapers, keepers that crash, starts that fail, shims that wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from hawse.supervisor.linux import process
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.shim.specs import MountSpec
from tests.netns.boxes import Box, Boxes, eventually, read_all, receive_until, runs

# -- the first process


async def test_a_reaper_as_the_first_process(boxes: Boxes) -> None:
    script = "trap 'echo term; exit 9' TERM; echo $$; (sleep 0.01 &); while true; do sleep 0.05; done"
    box = await boxes.start(boxes.spec("sh", "-c", script, init=True))
    await box.wait_said("\n")
    assert int(box.said()) > 1
    code, out, _ = await box.exec("sh", "-c", "cat /proc/1/comm; ls /proc/1/fd | wc -l")
    assert code == 0
    assert out.startswith("hawse-init\n")
    await eventually(lambda: zombies(box.shim.pid) == 0)
    box.shim.kill(signal.SIGTERM)
    ended = await box.finish()
    assert ended.code == 9
    assert ended.lines[-1] == "term"


def zombies(pid: int) -> int:
    count = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            count += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return count


async def test_a_reaper_passes_on_how_the_program_was_killed(boxes: Boxes) -> None:
    assert (await boxes.sh("kill -9 $$", init=True)).code == 137
    assert (await boxes.sh("exit 4", init=True)).code == 4


async def test_a_reaper_with_a_terminal(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions(stdin=True)))

    box = await boxes.start(boxes.spec("sh", "-i", tty=True, stdin=True, init=True), before_go=attach)
    client = clients[0]
    loop = asyncio.get_running_loop()
    await receive_until(client, b"# ")
    await loop.sock_sendall(client, b"echo begun; sleep 100\n")
    await receive_until(client, b"begun\r\n")
    await eventually(lambda: runs(box.shim.pid, b"sleep"))
    await loop.sock_sendall(client, b"\x03")
    await receive_until(client, b"# ")
    await loop.sock_sendall(client, b"echo $((6*7))\nexit 3\n")
    assert b"42" in await read_all(client)
    assert (await box.finish()).code == 3


# -- crashes


async def test_init_dies_with_its_shim(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    identity = box.shim.identity
    assert identity
    os.kill(box.shim.shim_identity.pid, signal.SIGKILL)
    await eventually(lambda: process.start_time(identity.pid) != identity.start_time)
    ended = await box.shim.wait_exit()
    assert ended.code in (137, None)  # a kernel before 6.15 has forgotten
    assert "no exit record" in ended.reason


async def test_a_shim_outlives_its_spawner_and_its_daemon(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "echo one; cat; echo two", stdin=True, stdin_once=True))
    boxes.spawner.close()
    pid = box.shim.pid
    box.shim.close()
    shim = await Shim.reconnect(Path(box.spec.socket), box.shim.id, Path(box.spec.state_dir))
    assert shim.pid == pid
    assert (await shim.state())["phase"] == "running"
    box.shim = shim
    client = await box.attach(AttachOptions(stdin=True))
    client.shutdown(socket.SHUT_WR)
    assert b"two\n" in await read_all(client)
    assert (await box.finish()).lines == ["one", "two"]


async def test_with_no_daemon_the_exit_is_still_recorded(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "read line; exit 8", stdin=True))
    identity, pidfd = box.shim.shim_identity, os.dup(box.shim.pidfd)
    client = await box.attach(AttachOptions(stdin=True))
    box.shim.close()
    boxes.spawner.close()
    await asyncio.get_running_loop().sock_sendall(client, b"go\n")
    await eventually(lambda: process.start_time(identity.pid) != identity.start_time)
    assert json.loads((Path(box.spec.state_dir) / "exit.json").read_text())["code"] == 8
    assert not Path(box.spec.socket).exists()
    os.close(pidfd)
    client.close()


async def test_an_exit_that_cannot_be_recorded_waits_for_somebody_to_tell(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "read line; exit 8", stdin=True))
    (Path(box.spec.state_dir) / "exit.json").mkdir()  # as good as a full disk
    client = await box.attach(AttachOptions(stdin=True))
    box.shim.close()
    await asyncio.get_running_loop().sock_sendall(client, b"go\n")
    assert await read_all(client) == b""
    shim = await Shim.reconnect(Path(box.spec.socket), box.shim.id, Path(box.spec.state_dir))
    assert (await shim.wait_exit()).code == 8
    await shim.release()
    shim.close()


async def test_a_daemon_that_dies_in_the_middle_of_a_start_leaves_nobody(boxes: Boxes) -> None:
    shim = await boxes.spawner.launch(boxes.spec("sleep", "100"))
    await shim.wait_ready()
    init, keeper = shim.identity, shim.shim_identity
    assert init
    shim.close()
    for who in (init, keeper):
        await eventually(lambda who=who: process.start_time(who.pid) != who.start_time)


async def test_a_failed_start_leaves_nobody(boxes: Boxes) -> None:
    spec = boxes.spec("true", mounts=[MountSpec(type="bind", source="/not/there", target="/x")])
    with pytest.raises(StartError, match="/not/there"):
        await boxes.start(spec)
    await waiting_shim(boxes)  # and nobody else
    assert not Path(spec.socket).exists()
    assert not (Path(spec.state_dir) / "shim.log").exists()


async def test_a_log_that_cannot_be_opened(boxes: Boxes) -> None:
    spec = boxes.spec("true")
    os.mkdir(spec.log_path)
    with pytest.raises(StartError, match="Is a directory"):
        await boxes.start(spec)


async def test_a_spec_that_cannot_be_read(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", lambda *_: 0)
    with pytest.raises(StartError, match=r"spec\.json|No such file"):
        await boxes.start(boxes.spec("true"))


async def waiting_shim(boxes: Boxes) -> int:
    """The pid of the one that the spawner has forked ahead of time."""
    children = Path(f"/proc/{boxes.spawner.pid}/task/{boxes.spawner.pid}/children")
    found: list[int] = []

    def only_one() -> bool:
        pids = children.read_text().split()
        with contextlib.suppress(OSError):
            found[:] = [int(p) for p in pids if Path(f"/proc/{p}/comm").read_text() == "hawse-shim\n"]
        return len(pids) == len(found) == 1

    await eventually(only_one)
    return found[0]


async def test_a_waiting_shim_that_was_killed_is_replaced(boxes: Boxes) -> None:
    for _ in range(2):
        pid = await waiting_shim(boxes)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda pid=pid: process.start_time(pid) is None)
        await waiting_shim(boxes)
        assert (await boxes.sh("echo fine")).stdout == "fine\n"


async def test_waiting_processes_die_with_the_spawner(boxes: Boxes) -> None:
    shim = await waiting_shim(boxes)
    grandchildren = Path(f"/proc/{shim}/task/{shim}/children")
    await eventually(lambda: len(grandchildren.read_text().split()) == 1)
    midwife = int(grandchildren.read_text())
    boxes.spawner.close()
    for pid in (shim, midwife):
        await eventually(lambda pid=pid: process.start_time(pid) is None)


async def test_many_at_once(boxes: Boxes) -> None:
    ended = await asyncio.gather(*(boxes.sh(f"echo {number}; exit {number}") for number in range(20)))
    assert [(e.code, e.stdout) for e in ended] == [(n, f"{n}\n") for n in range(20)]
    await waiting_shim(boxes)  # and nobody else


async def test_the_rehearsal_leaves_nothing(boxes: Boxes) -> None:
    """The spawner goes through a start many times before it serves; nothing of that may reach a shim."""
    box = await boxes.start(boxes.spec("sleep", "100"))
    spawner = f"/proc/{boxes.spawner.pid}/fd"
    await eventually(lambda: len(os.listdir(spawner)) <= 5)  # 0, 1, 2, the daemon, the pipe of the shim that waits
    assert not os.listdir(boxes.path / "spawner")
    await eventually(lambda: len(os.listdir(f"/proc/{box.shim.shim_identity.pid}/fd")) <= 14)
