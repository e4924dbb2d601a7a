"""Shims that die, hang, are let go or are found again, and whose exit is known all the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hawse.supervisor.core.errors import StartError, Unavailable
from hawse.supervisor.linux import process
from hawse.supervisor.runtime import client
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.exitrecord import ExitInfo, read_exit_record
from hawse.supervisor.shim import protocol, specs
from tests.unit.runtime.shims import CONTAINER, EXIT, FakeShim, Pair, pair, processes, who

__all__ = ["pair", "processes"]  # fixtures


async def test_a_dead_shim_is_noticed_by_everybody_who_waits(pair: Pair) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    fake.answers["exec"] = lambda m: fake.say("exec_started", rid=m["rid"], exec_id=m["exec_id"], pid=1)
    await shim.exec("e1", specs.ProcessSpec(argv=["x"], env=[]))
    waits = [
        asyncio.ensure_future(w) for w in (shim.wait_exit(), shim.wait_ready(), shim.exec_exit("e1"), shim.state())
    ]
    await asyncio.sleep(0)
    fake.keeper.kill()
    fake.keeper.wait()
    fake.sock.shutdown(socket.SHUT_RDWR)
    ended, ready, exec_, state = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(ended, ExitInfo) and ended.code is None and "no exit record" in ended.reason
    assert isinstance(ready, StartError)
    assert exec_ == 137, "it died with the container"
    assert isinstance(state, Unavailable)
    # Its init could not be left without a keeper.
    assert fake.init.wait(60) == -signal.SIGKILL
    assert not shim.is_connected
    with pytest.raises(Unavailable):
        await shim.resize(1, 1)


async def test_the_record_of_a_shim_that_died_after_writing_it(pair: Pair, tmp_path: Path) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    (tmp_path / "exit.json").write_text(json.dumps(EXIT))
    fake.init.kill()
    fake.keeper.kill()
    fake.keeper.wait()
    fake.sock.shutdown(socket.SHUT_RDWR)
    assert (await shim.wait_exit()).code == 137


async def test_a_broken_connection_to_a_living_shim_kills_nobody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.05)
    fake.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Unavailable, match="broke"):
        await shim.wait_exit()
    assert fake.init.poll() is None


async def test_letting_go_of_a_container_is_not_its_exit(pair: Pair) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    waiting = asyncio.ensure_future(shim.wait_exit())
    await asyncio.sleep(0)
    shim.close()
    shim.close()
    with pytest.raises(Unavailable):
        await waiting
    assert fake.init.poll() is None and fake.keeper.poll() is None


async def test_a_hung_shim_does_not_hide_the_exit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    monkeypatch.setattr(client, "REPORT_GRACE", 0.05)
    assert shim.kill(signal.SIGKILL)
    assert (await shim.wait_exit()).code is None
    fake.init.wait()
    assert not shim.kill(signal.SIGKILL), "gone is not an error"


async def test_abort_ends_both_even_when_nobody_listens(pair: Pair, processes: Any) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    fake.answers["abort"] = lambda m: fake.init.kill()
    await shim.abort(timeout=1)
    assert fake.keeper.wait(60) == -signal.SIGKILL
    assert fake.init.wait(60) == -signal.SIGKILL


async def test_reconnect_takes_over_what_happened(tmp_path: Path, processes: Any) -> None:
    keeper, init = processes
    path = tmp_path / "shim.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    state = {
        "phase": "running",
        "pid": init.pid,
        "start_time": process.start_time(init.pid),
        "exit": None,
        "execs": {"old": {"pid": 9, "running": False, "code": 4}, "new": {"pid": 10, "running": True, "code": None}},
        "stages": {"exec": 7},
    }
    fakes = []

    def serve() -> None:
        sock, _ = listener.accept()
        fake = FakeShim(sock, keeper, init)
        fake.answers["state"] = lambda m: fake.say("state", rid=m["rid"], **state)
        fakes.append(fake)
        fake.say("hello", version=protocol.VERSION, id=CONTAINER)

    threading.Thread(target=serve, daemon=True).start()
    shim = await Shim.reconnect(path, CONTAINER, tmp_path)
    assert shim.shim_identity.pid == os.getpid(), "the listener is this process"
    assert shim.identity == process.identity(init.pid)
    assert await shim.wait_ready() == {"exec": 7}
    assert await shim.exec_exit("old") == 4
    fakes[0].say("exec_exited", exec_id="new", code=5)
    assert await shim.exec_exit("new") == 5
    fakes[0].say("exited", exit=EXIT)
    assert (await shim.wait_exit()).code == 137
    shim.close()
    fakes[0].thread.join(60)
    fakes[0].sock.close()
    listener.close()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await Shim.reconnect(path, CONTAINER, tmp_path)


async def test_reconnect_to_a_shim_of_the_past(tmp_path: Path) -> None:
    path = tmp_path / "shim.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        connecting = asyncio.ensure_future(Shim.reconnect(path, CONTAINER, tmp_path))
        await asyncio.sleep(0)
        sock, _ = await asyncio.to_thread(listener.accept)
        with sock:
            protocol.send(sock, {"ev": "hello", "version": 0})
            with pytest.raises(Unavailable, match="too old"):
                await connecting


def test_exit_records(tmp_path: Path) -> None:
    assert read_exit_record(tmp_path) is None
    record = tmp_path / "exit.json"
    record.write_text(json.dumps({"code": 0, "signal": None, "oom": False, "started_at": 1, "finished_at": 2}))
    assert read_exit_record(tmp_path) == ExitInfo(code=0, started_at=1, finished_at=2)
    for broken in ("", "[]", "{}", '{"code": "x"}'):
        record.write_text(broken)
        found = read_exit_record(tmp_path)
        assert found is not None and found.code is None and "unreadable" in found.reason


def test_a_reused_pid_is_not_the_same_process(processes: Any) -> None:
    keeper, _ = processes
    keeper_then = who(keeper.pid)
    fd = process.open_pidfd(keeper_then)
    assert fd is not None
    os.close(fd)
    assert process.open_pidfd(msgspec.structs.replace(keeper_then, start_time=keeper_then.start_time - 1)) is None
    assert process.open_pidfd(msgspec.structs.replace(keeper_then, boot_id="another")) is None
    keeper.kill()
    keeper.wait()
    assert process.open_pidfd(keeper_then) is None
    assert process.identity(keeper.pid) is None
