"""A network driver that another package brings: its networks are made, plugged into, mended and removed like all others.

The driver is tests/fixtures/network_driver, which the daemon finds by its entry point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = {"PYTHONPATH": str(REPOSITORY / "tests/fixtures/network_driver")}
HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")
FETCH = ("sh", "-c", "timeout 5 wget -q -O - http://10.70.0.2/index.html; exit $?")


@pytest.fixture
def atoll(lab: Lab) -> Iterator[str]:
    """A network of that driver, and a web server on it; gives the host's end of its cable."""
    (lab.state / "hawse.toml").write_text("audit_interval = 3600\n")  # the news have to suffice
    lab.daemon.terminate()
    lab.daemon.start(env=INSTALLED)
    lab.hawse("network", "create", "-d", "isle", "--subnet", "10.70.0.0/24", "atoll")
    lab.hawse("run", "-d", "--name", "web", "--network", "atoll", "-p", "8080:80", "busybox", *HTTPD)
    eventually(lambda: lab.host.reaches("10.70.0.2", 80))
    yield ports(lab)[0]
    lab.hawse("rm", "-f", "web")
    lab.hawse("network", "rm", "atoll")
    assert lab.run(["ip", "link", "show", "atoll"], check=False).code
    lab.daemon.restart()


def ports(lab: Lab) -> list[str]:
    shown = lab.run(["ip", "-br", "link", "show", "master", "atoll"]).out
    return [line.split("@")[0] for line in shown.splitlines()]


def fetched(lab: Lab) -> bool:
    return lab.hawse("run", "--rm", "--network", "atoll", "busybox", *FETCH, check=False).out == "hello from busybox\n"


def repaired(lab: Lab) -> list[str]:
    """The objects, in order."""
    shown = lab.run(
        ["curl", "-s", "--unix-socket", "/run/hawse/hawse.sock", "http://h/hawse/v1/events?types=network.repaired"]
    )
    lines = [line for line in shown.out.splitlines() if '"seq"' in line and '"data"' in line]
    return [json.loads(line)["data"]["object"] for line in lines]


def test_nobody_but_the_driver_knows_it() -> None:
    code = [path for room in ("supervisor", "handlers", "cli") for path in (REPOSITORY / room).rglob("*.py")]
    assert not [path for path in code if "isle" in path.read_text()]


def test_it_is_plugged_into_and_publishes_nothing(lab: Lab, atoll: str) -> None:
    assert json.loads(lab.hawse("network", "inspect", "atoll").out)[0]["Driver"] == "isle"
    assert fetched(lab)
    table = lab.run(["nft", "list", "table", "inet", f"hawse_{lab.instance}"]).out
    assert "atoll" not in table and "8080" not in table
    lab.hawse("run", "-d", "--name", "guest", "-p", "8081:80", "busybox", "sleep", "1000")
    lab.hawse("network", "connect", "atoll", "guest")
    assert lab.hawse("exec", "guest", *FETCH).out == "hello from busybox\n"
    lab.hawse("network", "disconnect", "bridge", "guest")
    assert "8081" not in lab.run(["nft", "list", "table", "inet", f"hawse_{lab.instance}"]).out, (
        "atoll has taken it over"
    )
    lab.hawse("network", "disconnect", "atoll", "guest")
    assert ports(lab) == [atoll]
    lab.hawse("rm", "-f", "guest")
    assert lab.hawse("audit").code == 0


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (["ip", "link", "delete", "{veth}"], "link {veth}"),
        (["ip", "link", "set", "{veth}", "nomaster"], "link {veth}"),
        (["ip", "link", "set", "atoll", "down"], "isle atoll"),
        (["ip", "address", "flush", "dev", "atoll"], "isle atoll"),
        (["ip", "link", "delete", "atoll"], "isle atoll"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_damage_is_healed_and_told(lab: Lab, atoll: str, damage: list[str], named: str) -> None:
    before = len(repaired(lab))
    lab.run([word.format(veth=atoll) for word in damage])
    eventually(lambda: named.format(veth=atoll) in repaired(lab)[before:])
    eventually(lambda: lab.host.reaches("10.70.0.2", 80))
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    assert ports(lab) == [atoll]


def test_a_daemon_that_lacks_it_says_so_and_leaves_all_as_it_is(lab: Lab, atoll: str) -> None:
    lab.daemon.kill9()
    lab.daemon.start()
    assert lab.host.reaches("10.70.0.2", 80) and ports(lab) == [atoll]
    shown = lab.hawse("audit", check=False)
    assert shown.code and 'could not find a driver named "isle"' in shown.out
    refused = lab.hawse("run", "--rm", "--network", "atoll", "busybox", "true", check=False)
    assert refused.code and 'could not find a driver named "isle"' in refused.err
    lab.daemon.kill9()
    lab.daemon.start(env=INSTALLED)
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    assert fetched(lab)
    eventually(lambda: ports(lab) == [atoll])  # the other cable is pulled when its container has gone for its users


def test_its_refusals_are_told(lab: Lab, atoll: str) -> None:
    refused = lab.hawse("network", "create", "-d", "isle", "reef", check=False)
    assert refused.code and "an isle needs a subnet (--subnet 10.70.0.0/24)" in refused.err
    refused = lab.hawse("network", "create", "-d", "overlay", "reef", check=False)
    assert refused.code and "there are bridge, host, isle, null" in refused.err
