"""The daemon's end of the control protocol, against a small shim on the other end of a real socketpair."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import threading
from typing import Any

import pytest

from hawse.supervisor.core.errors import KernelError, NotFound, StartError, Unavailable, UserError
from hawse.supervisor.linux import process
from hawse.supervisor.runtime import channel
from hawse.supervisor.runtime.client import AttachOptions
from hawse.supervisor.runtime.exitrecord import ExitInfo
from hawse.supervisor.shim import protocol, specs
from tests.unit.runtime.shims import EXIT, STARTED, Pair, pair, processes

__all__ = ["pair", "processes"]  # fixtures


async def test_a_start_from_namespaces_to_the_program(pair: Pair) -> None:
    shim, fake = pair
    fake.namespaces()
    await shim.wait_namespaces()
    assert shim.pid == fake.init.pid
    assert shim.identity == process.identity(fake.init.pid)
    assert shim.shim_identity == process.identity(fake.keeper.pid)
    assert shim.netlink is not None and shim.netlink.family == socket.AF_NETLINK
    fake.say("ready", stages={"mounts": 900})
    assert await shim.wait_ready() == {"mounts": 900}
    fake.answers["go"] = lambda m: fake.say("started", rid=m["rid"], stages={"mounts": 900, "exec": 40})
    assert await shim.open_gate() == {"mounts": 900, "exec": 40}
    fake.say("exited", exit=EXIT)
    assert await shim.wait_exit() == ExitInfo(code=137, signal=9, oom=True, started_at=STARTED, finished_at=STARTED + 5)
    assert await shim.wait_exit() == await shim.wait_exit()
    assert shim.netlink is None, "an open netlink socket pins the network namespace"


async def test_an_exit_that_comes_before_anybody_waits_is_kept(pair: Pair) -> None:
    shim, fake = pair
    fake.namespaces()
    fake.say("ready")
    fake.say("started")
    fake.say("exited", exit=EXIT)
    await shim.wait_ready()
    assert (await shim.wait_exit()).code == 137


@pytest.mark.parametrize("code", [126, 127])
async def test_the_program_cannot_be_executed(pair: Pair, code: int) -> None:
    shim, fake = pair
    fake.answers["go"] = lambda m: fake.say("failed", stage="exec", errno=2, message="nope: not found", exit_code=code)
    with pytest.raises(StartError, match="nope: not found") as caught:
        await shim.open_gate()
    assert (caught.value.stage, caught.value.exit_code) == ("exec", code)


async def test_a_failure_at_an_early_stage_fails_the_later_waits_too(pair: Pair) -> None:
    shim, fake = pair
    fake.say("failed", stage="mounts", errno=13, message="")
    with pytest.raises(StartError, match="Permission denied") as caught:
        await shim.wait_ready()
    assert (caught.value.stage, caught.value.exit_code) == ("mounts", 125)
    with pytest.raises(StartError):
        await shim.wait_namespaces()


async def test_a_gate_that_the_shim_refuses_to_open(pair: Pair) -> None:
    shim, fake = pair
    fake.answers["go"] = lambda m: fake.say("error", rid=m["rid"], errno=22, message="not ready")
    with pytest.raises(StartError, match="not ready") as caught:
        await shim.open_gate()
    assert caught.value.stage == "gate"


async def test_a_silent_shim_is_not_waited_for_for_ever(pair: Pair) -> None:
    shim, _ = pair
    with pytest.raises(StartError, match=r"stuck: no namespaces after 0\.05 s"):
        await shim.wait_namespaces(0.05)
    with pytest.raises(Unavailable, match=r"did not answer 'state' within 0\.05 s"):
        await shim._channel.request({"op": "state"}, timeout=0.05)


async def test_answers_are_told_apart_by_rid(pair: Pair) -> None:
    shim, fake = pair
    held: list[dict[str, Any]] = []

    def answer_in_reverse(message: dict[str, Any]) -> None:
        held.append(message)
        if len(held) == 5:
            for m in reversed(held):
                fake.say("state", rid=m["rid"], number=m["number"])

    fake.answers["state"] = answer_in_reverse
    answers = await asyncio.gather(*(shim._channel.request({"op": "state", "number": n}) for n in range(5)))
    assert [a["number"] for a, _ in answers] == [0, 1, 2, 3, 4]


async def test_attach_hands_the_connection_over(pair: Pair) -> None:
    shim, fake = pair
    fake.answers["attach"] = lambda m: fake.say("attached", rid=m["rid"])
    here, there = socket.socketpair()
    with here, there:
        await shim.attach(there.fileno(), b"ls\n", AttachOptions(stdin=True, framed=True))
        assert there.fileno() >= 0, "the caller keeps its own copy"
        assert len(fake.fds) == 1
        os.write(fake.fds[0], b"out")
        assert here.recv(10) == b"out"
    told = fake.seen[-1]
    assert base64.b64decode(told["prefix"]) == b"ls\n"
    assert told["stdin"] and told["framed"] and not told["logs"] and told["detach_keys"] == "ctrl-p,ctrl-q"


async def test_a_refused_attach_is_an_error(pair: Pair) -> None:
    shim, fake = pair
    fake.answers["attach"] = lambda m: fake.say("error", rid=m["rid"], errno=32, message="the program has ended")
    with pytest.raises(KernelError, match="the program has ended"):
        await shim.attach(0, b"", AttachOptions())


async def test_exec_and_its_exit_code(pair: Pair) -> None:
    shim, fake = pair

    def run(message: dict[str, Any]) -> None:
        # Quicker than anybody can ask: the exit comes right behind, or even before, the start.
        fake.say("exec_exited", exec_id=message["exec_id"], code=3)
        fake.say("exec_started", rid=message["rid"], exec_id=message["exec_id"], pid=4242)

    fake.answers["exec"] = run
    assert await shim.exec("e1", specs.ProcessSpec(argv=["false"], env=[])) == 4242
    assert await shim.exec_exit("e1") == 3
    with pytest.raises(NotFound):
        await shim.exec_exit("e1")
    assert fake.seen[-1]["process"]["argv"] == ["false"] and fake.seen[-1]["attach"] is None


async def test_an_exec_that_cannot_be_executed(pair: Pair) -> None:
    shim, fake = pair
    fake.answers["exec"] = lambda m: fake.say(
        "exec_failed", rid=m["rid"], exec_id=m["exec_id"], errno=2, message='exec: "x": not found', exit_code=127
    )
    with pytest.raises(StartError, match="not found") as caught:
        await shim.exec("e1", specs.ProcessSpec(argv=["x"], env=[]))
    assert caught.value.exit_code == 127
    with pytest.raises(NotFound):
        await shim.exec_exit("e1")


async def test_a_message_that_is_too_long_is_the_users_error(pair: Pair) -> None:
    shim, _ = pair
    with pytest.raises(UserError, match="too big"):
        await shim.exec("e1", specs.ProcessSpec(argv=["x" * protocol.MAX_MESSAGE], env=[]))


async def test_the_netlink_socket_is_the_callers(pair: Pair) -> None:
    shim, fake = pair

    def give(message: dict[str, Any]) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            fake.say("netns", (netlink.fileno(),), rid=message["rid"])

    fake.answers["netns"] = give
    with await shim.netlink_socket() as netlink:
        assert netlink.family == socket.AF_NETLINK
    fake.answers["netns"] = lambda m: fake.say("netns", rid=m["rid"])
    with pytest.raises(Unavailable, match="no network namespace of its own"):
        await shim.netlink_socket()


async def test_descriptors_that_nobody_takes_are_closed(pair: Pair) -> None:
    shim, fake = pair
    read, write = os.pipe()
    fake.say("something_new", (write, write, write))
    fake.answers["state"] = lambda m: fake.say("state", (write,), rid=m["rid"], phase="running")
    await shim.state()
    os.close(write)
    assert os.read(read, 1) == b"", "a copy of the write end is open somewhere"
    os.close(read)


async def test_nonsense_ends_the_connection(pair: Pair) -> None:
    shim, fake = pair
    read, write = os.pipe()
    socket.send_fds(fake.sock, [b"{not json"], [write])
    os.close(write)
    with pytest.raises(StartError, match="is gone"):
        await shim.wait_ready()
    assert os.read(read, 1) == b"", "what came with it was not closed"
    os.close(read)


async def test_a_peer_that_does_not_read_is_waited_for_and_then_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim, fake = pair
    proceed = threading.Event()

    def hold(message: dict[str, Any]) -> None:
        proceed.wait(60)

    fake.answers["hold"] = hold
    await shim._channel.post({"op": "hold"})
    filler = {"op": "filler", "text": "x" * 30_000}

    async def fill() -> None:
        for _ in range(40):
            await shim._channel.post(filler)

    filling = asyncio.ensure_future(fill())
    done, _ = await asyncio.wait({filling}, timeout=0.1)
    assert not done, "the socket's buffer takes less than that"
    proceed.set()
    await filling
    proceed.clear()
    monkeypatch.setattr(channel, "ANSWER_TIMEOUT", 0.05)
    await shim._channel.post({"op": "hold"})
    with pytest.raises(Unavailable, match="does not read"):
        await fill()
    proceed.set()
