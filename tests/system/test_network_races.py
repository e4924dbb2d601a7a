"""A network is removed while a container comes to it: one of the two is refused, in docker's words, and leaves nothing.

Which one wins is chance; what may come of it is not.  The interleavings one by one are in
tests/unit/lifecycle/test_network_races.py.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

ROUNDS = 8
PAUSES = (0, 0.01, 0.02, 0.04)
"""Seconds that the one which is started second comes later: the rounds are for different moments, whatever they hit."""


def race(lab: Lab, pause: float, *commands: Sequence[str]) -> list[tuple[int, str]]:
    """Exit code and what was said to stderr, of commands that run side by side."""
    begun: list[subprocess.Popen[bytes]] = []
    for command in commands:
        if begun:
            time.sleep(pause)
        begun.append(lab.popen(["hawse", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    ended = [(process.communicate(timeout=PATIENCE)[1].decode(), process.returncode) for process in begun]
    return [(code, said) for said, code in ended]


def rounds(lab: Lab, *command: str) -> Iterator[tuple[int, str, int, str]]:
    """The command and the removal of the network `goes` side by side, each of them begun first in turn."""
    for number in range(ROUNDS):
        lab.hawse("network", "create", "goes")
        pair = [command, ("network", "rm", "goes")]
        swapped = number % 2 == 1
        results = race(lab, PAUSES[number // 2 % len(PAUSES)], *(pair[::-1] if swapped else pair))
        (code, said), (removal, why) = results[::-1] if swapped else results
        yield code, said, removal, why


def networks(lab: Lab, ref: str) -> set[str]:
    return set(lab.inspect(ref)["NetworkSettings"]["Networks"])


def test_create(lab: Lab) -> None:
    """What was only created does not hold a network."""
    for code, said, removal, why in rounds(lab, "create", "--name", "box", "--network", "goes", "busybox", "true"):
        assert removal == 0, why
        if code == 0:
            assert "network goes not found" in lab.hawse("start", "box", check=False).err
            lab.hawse("rm", "box")
        else:
            assert code == 1 and "network goes not found" in said
        assert lab.hawse("ps", "-aq").out == ""


def test_run(lab: Lab) -> None:
    for code, said, removal, why in rounds(
        lab, "run", "-d", "--name", "box", "--network", "goes", "busybox", "sleep", "1000"
    ):
        if code == 0:
            assert removal == 1 and "network goes has active endpoints (name:box)" in why
            address = lab.address("box", "goes")
            assert f"inet {address}/" in lab.hawse("exec", "box", "ip", "addr").out
            assert lab.hawse("audit").code == 0
            lab.hawse("rm", "-f", "box")
            lab.hawse("network", "rm", "goes")
        else:
            assert (code, removal) == (125, 0) and "network goes not found" in said
            lab.hawse("rm", "box", check=False)  # as with docker it is there when it was created and could not start
        assert lab.hawse("ps", "-aq").out == ""


def test_connect(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    pid = lab.inspect("box")["State"]["Pid"]
    for code, said, removal, why in rounds(lab, "network", "connect", "goes", "box"):
        if code == 0:
            assert removal == 1 and "network goes has active endpoints (name:box)" in why
            address = lab.address("box", "goes")
            assert f"inet {address}/" in lab.hawse("exec", "box", "ip", "addr").out
            lab.hawse("network", "disconnect", "goes", "box")
            lab.hawse("network", "rm", "goes")
        else:
            assert (code, removal) == (1, 0) and "network goes not found" in said
        assert networks(lab, "box") == {"bridge"}
        assert "eth1" not in lab.hawse("exec", "box", "ip", "link").out
        eventually(lambda: lab.hawse("audit").code == 0)
    assert lab.inspect("box")["State"]["Pid"] == pid
    lab.hawse("rm", "-f", "box")


def test_two_removals(lab: Lab) -> None:
    for code, said, removal, why in rounds(lab, "network", "rm", "goes"):
        assert sorted((code, removal)) == [0, 1]
        assert "network goes not found" in said + why
