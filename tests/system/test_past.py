"""The time machine: what was there at a time that is over."""

from __future__ import annotations

import json
from typing import Any

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


def told(lab: Lab, ref: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.hawse("history", ref).out.splitlines()]


def when(lab: Lab, name: str, kind: str) -> str:
    """The time of an event, as it can be typed."""
    return str([event["time"] for event in told(lab, name) if event["type"] == kind][-1])


def test_ps_leases_and_history_of_a_time_that_is_over(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "goes", "-p", "8123:80", "busybox", "sleep", "1000")
    address, kept = lab.address("goes", "bridge"), lab.address("stays", "bridge")
    lab.hawse("rm", "-f", "goes")
    lab.hawse("kill", "stays")
    lab.hawse("wait", "stays")
    eventually(lambda: when(lab, "stays", "network.disconnected"))  # which follows the exit in its own time
    lab.hawse("rename", "stays", "renamed")

    running = when(lab, "goes", "container.started")
    rows = lab.hawse("ps", "--at", running, "--format", "{{.Names}} {{.State}} {{.IP}} {{.Ports}}").out.splitlines()
    assert rows == [f"goes running {address} 0.0.0.0:8123->80/tcp", f"stays running {kept} "]
    created = when(lab, "goes", "container.created")
    shown = lab.hawse("ps", "-a", "--at", created, "--format", "{{.Names}} {{.State}}").out.splitlines()
    assert shown == ["goes created", "stays running"]
    gone = when(lab, "goes", "container.removed")
    assert "goes" not in lab.hawse("ps", "-a", "--at", gone).out

    leases = ("network", "leases", "bridge", "--format", "{{.Name}} {{.Address}}")
    assert lab.hawse(*leases).out.splitlines() == [f"renamed {kept}"]
    assert set(lab.hawse(*leases, "--at", running).out.splitlines()) == {f"stays {kept}", f"goes {address}"}

    for ref in (address, "8123", "8123/tcp"):
        cables = [(e["type"], e["data"]["container"]["name"]) for e in told(lab, ref)]
        assert cables[-2:] == [("network.connected", "goes"), ("network.disconnected", "goes")], ref
    assert told(lab, "stays") == told(lab, "renamed"), "by its old name as well"
    assert [e["type"] for e in told(lab, "stays")][-1] == "container.renamed"
    missing = lab.hawse("history", "8123/udp", check=False)
    assert missing.code == 1 and "nothing is known" in missing.err
    assert "Imported" in lab.hawse("history", "busybox").out, "an image's layers are still Docker's history"
    lab.hawse("rm", "renamed")


def test_ports_that_moved_to_another_network(lab: Lab) -> None:
    for name in ("first", "second"):
        lab.hawse("network", "create", name)
    lab.hawse("run", "-d", "--name", "moves", "--network", "first", "-p", "8124:80", "busybox", "sleep", "1000")
    lab.hawse("network", "connect", "second", "moves")
    container, old, new = lab.inspect("moves")["Id"], lab.address("moves", "first"), lab.address("moves", "second")
    lab.hawse("network", "disconnect", "first", "moves")
    moved, gone = when(lab, container, "network.published"), when(lab, container, "network.disconnected")
    lab.hawse("rm", "-f", "moves")

    rows = ("--format", "{{.Names}} {{.IP}} {{.Ports}}")
    published = "0.0.0.0:8124->80/tcp"
    started = when(lab, container, "container.started")
    assert lab.hawse("ps", "--at", started, *rows).out == f"moves {old} {published}\n"
    assert published in lab.hawse("ps", "--at", moved, *rows).out
    assert lab.hawse("ps", "--at", gone, *rows).out == f"moves {new} {published}\n"
    story = [(e["type"].partition(".")[2], e["data"]["endpoint"]["network"]) for e in told(lab, "8124")]
    assert story == [("connected", "first"), ("published", "second"), ("disconnected", "second")]
    for name in ("first", "second"):
        lab.hawse("network", "rm", name)


def test_the_file_beside_a_container_follows_its_networks(lab: Lab) -> None:
    """network.json in its run directory, for scripts that would rather not ask the daemon."""
    lab.hawse("network", "create", "other")
    lab.hawse("run", "-d", "--name", "followed", "-p", "8125:80", "busybox", "sleep", "1000")
    file = lab.inside / f"run/hawse/containers/{lab.inspect('followed')['Id']}/network.json"

    def shown() -> dict[str, list[int]]:
        return {e["network"]: [p["host_port"] for p in e["ports"]] for e in json.loads(file.read_text())}

    eventually(lambda: shown() == {"bridge": [8125]})
    lab.hawse("network", "connect", "other", "followed")
    eventually(lambda: shown() == {"bridge": [8125], "other": []})
    lab.hawse("network", "disconnect", "bridge", "followed")
    eventually(lambda: shown() == {"other": [8125]})
    lab.hawse("rm", "-f", "followed")
    lab.hawse("network", "rm", "other")
