"""A daemon that dies while it connects a running container to a network, or takes it off one: the next one finishes that."""

from __future__ import annotations

import json

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")


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


@pytest.mark.parametrize("point", ["live.left", "disconnect.unplugged", "live.handed-over", "disconnect.committed"])
def test_a_network_can_be_joined_again_when_a_crash_left_it_half_left(lab: Lab, point: str) -> None:
    """The connect waits until the next daemon has finished the disconnect, whose cable, address and ports are not its own."""
    for name in ("first", "second"):
        lab.hawse("network", "create", name)
    lab.hawse("run", "-d", "--name", "peer", "--network", "first", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "box", "--network", "first", "-p", "8081:80", "busybox", *HTTPD)
    lab.hawse("network", "connect", "second", "box")
    shown = lab.inspect("box")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    code = lab.hawse("network", "disconnect", "first", "box", check=False).code
    assert code != 0 or point == "disconnect.committed"  # it is told of the end when that is committed
    lab.daemon.wait_dead()
    lab.daemon.start()
    asked = {"Container": "box", "EndpointConfig": {"Aliases": ["again"]}}
    assert lab.daemon.request("POST", "/networks/first/connect", asked) == (
        200,
        b"",
    )  # at once: the command takes longer
    is_back(lab, shown["State"]["Pid"])
    lab.daemon.kill9()
    lab.daemon.start()
    is_back(lab, shown["State"]["Pid"])
    lab.hawse("network", "disconnect", "first", "box")
    lab.hawse("rm", "-f", "box", "peer")
    for name in ("first", "second"):
        lab.hawse("network", "rm", name)


def is_back(lab: Lab, pid: int) -> None:
    """Kernel, records and journal agree that `box` has left `first` once and come back once."""
    shown = lab.inspect("box")
    assert shown["State"]["Pid"] == pid
    networks = shown["NetworkSettings"]["Networks"]
    assert set(networks) == {"first", "second"}
    inside = lab.hawse("exec", "box", "ip", "addr").out
    assert inside.count("scope global") == 2, inside
    for network in networks.values():
        assert f"inet {network['IPAddress']}/" in inside
    eventually(lambda: lab.hawse("exec", "peer", "ping", "-c1", "-W5", "again").code == 0)
    eventually(lambda: lab.client.get(HOST, 8081) == b"hello from busybox\n")
    assert "default via" in lab.hawse("exec", "box", "ip", "route").out
    story = [json.loads(line) for line in lab.hawse("history", shown["Id"]).out.splitlines()]
    cables = [
        (e["type"].removeprefix("network."), e["data"]["endpoint"]["network"])
        for e in story
        if e["type"] in ("network.connected", "network.disconnected", "network.published")
    ]
    assert cables == [
        ("connected", "first"),
        ("connected", "second"),
        ("published", "second"),
        ("disconnected", "first"),
        ("connected", "first"),
    ]
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
