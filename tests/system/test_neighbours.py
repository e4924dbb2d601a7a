"""Rules of other programs that cut our networks are told: when they come, when they go, and where one would look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import eventually

DROP = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
TYPES = ("network.obstructed", "network.cleared")


@pytest.fixture
def other(lab: Lab) -> Iterator[Lab]:
    yield lab
    lab.run(["nft", "delete table ip filter"], check=False)


def told(lab: Lab) -> list[dict[str, Any]]:
    lines = lab.hawse("events", "--no-follow").out.splitlines()
    return [event for event in map(json.loads, lines) if event["type"] in TYPES]


def test_a_drop_is_told_until_it_goes(other: Lab) -> None:
    """docker's and ufw's policy on FORWARD; nobody said anything, and nothing went through."""
    lab, before = other, len(told(other))
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    eventually(lambda: lab.client.reaches(HOST, 8080))
    lab.run(["nft", DROP])
    assert not lab.client.reaches(HOST, 8080, timeout=0.5)
    event = eventually(lambda: told(lab)[before:])[0]
    assert (event["type"], event["subject"]) == ("network.obstructed", "network/bridge")
    assert {o["by"] for o in event["data"]["obstacles"]} == {"ip filter FORWARD"}
    assert "published ports cannot be reached" in lab.hawse("info").err
    audit = lab.hawse("audit")
    assert audit.code == 0 and "Nothing is off" in audit.out, "ours is in order"
    assert "Rules of other programs are in the way" in audit.out and "ip filter FORWARD" in audit.out
    assert "network_obstructed" in lab.daemon.log
    remedies = {o["remedy"] for o in event["data"]["obstacles"]}
    for remedy in remedies:
        lab.run(["sh", "-c", remedy])
    assert eventually(lambda: told(lab)[before + 1 :])[0]["type"] == "network.cleared"
    eventually(lambda: lab.client.reaches(HOST, 8080))
    assert lab.hawse("info").err == ""
    lab.hawse("rm", "-f", "web")


def test_a_drop_that_was_there_first_is_told_once(other: Lab) -> None:
    lab, before = other, len(told(other))
    lab.daemon.terminate()
    lab.run(["nft", DROP])
    lab.daemon.start()
    eventually(lambda: "published ports" in lab.hawse("info").err)
    lab.daemon.restart()
    eventually(lambda: "published ports" in lab.hawse("info").err)
    assert [event["type"] for event in told(lab)[before:]] == ["network.obstructed"]
    lab.run(["nft", "delete table ip filter"])
    eventually(lambda: told(lab)[-1]["type"] == "network.cleared")


def test_a_drop_of_iptables_legacy_is_told_by_the_audit(lab: Lab) -> None:
    """The kernel tells nobody of it, and nft does not show it."""
    before = len(told(lab))
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    eventually(lambda: lab.client.reaches(HOST, 8080))
    lab.run(["iptables-legacy", "-P", "FORWARD", "DROP"])
    try:
        assert not lab.client.reaches(HOST, 8080, timeout=0.5)
        assert "iptables-legacy filter FORWARD" in lab.hawse("audit").out
        (event,) = told(lab)[before:]
        assert "published ports cannot be reached" in lab.hawse("info").err
        for remedy in {o["remedy"] for o in event["data"]["obstacles"]}:
            lab.run(["sh", "-c", remedy])
        assert "iptables-legacy" not in lab.hawse("audit").out
        assert told(lab)[-1]["type"] == "network.cleared"
        eventually(lambda: lab.client.reaches(HOST, 8080))
    finally:
        lab.run(["sh", "-c", "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F; rm /run/xtables.lock"])
        lab.hawse("rm", "-f", "web")
