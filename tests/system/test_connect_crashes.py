"""A daemon that dies while it connects a running container to one more network: the next one finishes that."""

from __future__ import annotations

import json

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


@pytest.mark.parametrize("point", ["live.claimed", "connect.planned", "connect.plugged", "connect.committed"])
def test_a_connect_is_finished(lab: Lab, point: str) -> None:
    for name in ("first", "second"):
        lab.hawse("network", "create", name)
    lab.hawse("run", "-d", "--name", "peer", "--network", "second", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "box", "--network", "first", "busybox", "sleep", "1000")
    pid = lab.inspect("box")["State"]["Pid"]
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    assert lab.hawse("network", "connect", "second", "box", check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Pid"] == pid
    address = eventually(lambda: lab.address("box", "second"))
    assert f"inet {address}/" in lab.hawse("exec", "box", "ip", "addr").out
    assert lab.hawse("exec", "peer", "ping", "-c1", "-W5", "box").code == 0
    story = [json.loads(line) for line in lab.hawse("history", lab.inspect("box")["Id"]).out.splitlines()]
    connected = [e["data"]["endpoint"]["network"] for e in story if e["type"] == "network.connected"]
    assert connected == ["first", "second"]
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    lab.hawse("network", "disconnect", "second", "box")
    lab.hawse("network", "connect", "second", "box")
    lab.hawse("rm", "-f", "box", "peer")
    for name in ("first", "second"):
        lab.hawse("network", "rm", name)


def test_a_connect_that_is_refused_the_second_time_is_taken_back(lab: Lab) -> None:
    lab.hawse("network", "create", "second")
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": "connect.plugged"})
    assert lab.hawse("network", "connect", "second", "box", check=False).code != 0
    lab.daemon.wait_dead()
    gate = lab.state / "hooks.d" / "10-no.toml"
    gate.write_text('on = "pre-connect"\ncommand = "/bin/false"\n')
    lab.daemon.start()
    assert list(lab.inspect("box")["NetworkSettings"]["Networks"]) == ["bridge"]
    assert "eth1" not in lab.hawse("exec", "box", "ip", "link").out
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    gate.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")
    lab.hawse("network", "connect", "second", "box")
    lab.hawse("rm", "-f", "box")
    lab.hawse("network", "rm", "second")
