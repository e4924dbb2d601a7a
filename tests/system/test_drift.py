"""Whatever takes away what a container needs, it is back a moment later, and an event says so."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.system.cgroups import directories

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")
PAGE = b"hello from busybox\n"


@pytest.fixture(autouse=True)
def news_only(lab: Lab) -> None:
    """The periodic check is not there first, by chance, and without knowing who did it."""
    config = lab.state / "hawse.toml"
    if not config.read_text():
        config.write_text("audit_interval = 3600\n")
        lab.daemon.restart()


@pytest.fixture
def web(lab: Lab) -> Iterator[str]:
    """A published web server on a network of its own; gives the host's end of its cable."""
    lab.hawse("network", "create", "--subnet", "10.66.0.0/24", "drift")
    lab.hawse("run", "-d", "--name", "web", "--network", "drift", "-p", "8080:80", "busybox", *HTTPD)
    eventually(lambda: lab.client.reaches(HOST, 8080))
    (veth,) = (
        line.split("@")[0] for line in lab.run(["ip", "-br", "link", "show", "master", "drift"]).out.splitlines()
    )
    yield veth
    lab.hawse("rm", "-f", "web")
    lab.hawse("network", "rm", "drift")


def repaired(lab: Lab) -> list[dict[str, str]]:
    shown = lab.run(
        ["curl", "-s", "--unix-socket", "/run/hawse/hawse.sock", "http://h/hawse/v1/events?types=network.repaired"]
    )
    return [json.loads(line)["data"] for line in shown.out.splitlines() if '"seq"' in line and '"data"' in line]


def is_owned(lab: Lab) -> bool:
    """Whether this kernel lets a table be one process's own, for longer than that lives (6.9 and later)."""
    return "owner" in lab.run(["nft", "list", "table", "inet", f"hawse_{lab.instance}"]).out


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (["nft", "flush", "ruleset"], "nftables table"),
        (["nft", "delete", "table", "inet", "{table}"], "nftables table"),
        (["nft", "flush", "chain", "inet", "{table}", "publish"], "nftables table"),
        (["nft", "flush", "map", "inet", "{table}", "publish_any"], "nftables table"),
        (["nft", "delete", "element", "inet", "{table}", "publish_any", "{{ tcp . 8080 }}"], "nftables table"),
        (["ip", "link", "delete", "{veth}"], "link {veth}"),
        (["ip", "link", "set", "{veth}", "nomaster"], "link {veth}"),
        (["ip", "link", "set", "{veth}", "down"], "link {veth}"),
        (["ip", "link", "set", "drift", "down"], "bridge drift"),
        (["ip", "address", "flush", "dev", "drift"], "bridge drift"),
        (["ip", "link", "delete", "drift"], "bridge drift"),
        (["ip", "route", "delete", "10.66.0.0/24"], "bridge drift"),
        (["sysctl", "-qw", "net.ipv4.ip_forward=0"], "bridge drift"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_damage_is_healed_and_told(lab: Lab, web: str, damage: list[str], named: str) -> None:
    names = {"veth": web, "table": f"hawse_{lab.instance}"}
    mac = lab.hawse("exec", "web", "cat", "/sys/class/net/eth0/address").out
    before = len(repaired(lab))
    if damage[0] == "nft" and is_owned(lab):
        done = lab.run([word.format(**names) for word in damage], check=False)
        assert "not permitted" in done.err or damage[-1] == "ruleset", "which leaves out what has an owner"
        assert lab.client.get(HOST, 8080, "/index.html") == PAGE
        assert lab.hawse("audit", check=False).code == 0 and len(repaired(lab)) == before
        return
    lab.run([word.format(**names) for word in damage])
    # Of several repairs the last is told when the page may be there again already.
    eventually(lambda: named.format(**names) in {event["object"] for event in repaired(lab)[before:]})
    eventually(lambda: lab.client.get(HOST, 8080, "/index.html") == PAGE)
    fresh = repaired(lab)[before:]
    assert lab.hawse("exec", "web", "cat", "/sys/class/net/eth0/address").out == mac
    assert lab.address("web", "drift") == "10.66.0.2"
    if damage[0] == "nft":
        assert any(event["by"].startswith("nft[") for event in fresh), "the kernel says who did it"
    eventually(lambda: lab.hawse("audit", check=False).code == 0)


def test_the_periodic_check_finds_what_no_news_tell(lab: Lab, web: str) -> None:
    setting = "/proc/sys/net/ipv4/conf/drift/route_localnet"
    before = len(lab.daemon.log)
    lab.run(["sh", "-c", f"echo 0 > {setting}"])
    shown = lab.hawse("audit", check=False)
    # Late news of the making of `web` may have had the keeper look, and be first: then its log names it.
    assert "route_localnet is 0, not 1" in shown.out + lab.daemon.log[before:]
    lab.hawse("audit", "--repair")
    eventually(lambda: lab.run(["cat", setting]).out == "1\n")
    eventually(lambda: lab.hawse("audit", check=False).code == 0)


def test_audit_finds_orphans_of_each_kind_and_leaves_foreign_things_alone(lab: Lab) -> None:
    nobody, tag = "e" * 64, f"hawse_{lab.instance}"
    lab.hawse("network", "create", "audited")
    group = next(path for path in directories(lab, nobody, "memory") if path.parent.is_dir())
    planted = [
        f"ip link add h{lab.instance}-feed type veth peer name orphan1 && "
        f"ip link set h{lab.instance}-feed alias {tag}:{nobody}:audited",
        f"mkdir {group}",
        f"mkdir {lab.root}/containers/{nobody} {lab.run_dir}/containers/{nobody}",
        # not ours, whatever they look like
        "ip link add hawse9 type bridge",
        f"ip link add foreign1 type veth peer name foreign2 && ip link set foreign1 alias {tag}x:{nobody}:audited",
        f"mkdir {lab.root}/containers/keep-me",
    ]
    before = len(lab.daemon.log)
    for command in planted:
        lab.run(["sh", "-c", command])
    found = json.loads(lab.hawse("audit", "--format", "json", check=False).out)
    objects = " ".join(entry["Object"] for entry in found)
    for expected in (f"link h{lab.instance}-feed", f"cgroup {nobody}", f"directory containers/{nobody}"):
        # The keeper may be looking just now, and be first: then its log names them, when it is through.
        eventually(lambda: expected in objects + lab.daemon.log[before:])  # noqa: B023  called at once
    lab.hawse("audit", "--repair")
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    stray = f'{{ tcp . 9999 comment "{tag}:{nobody}:audited" : 10.1.1.1 . 80 }}'
    added = lab.run(["nft", "add", "element", "inet", tag, "publish_any", stray], check=False)
    assert added.code == 0 or is_owned(lab)
    eventually(lambda: "9999" not in lab.run(["nft", "list", "table", "inet", tag]).out)  # its news woke the keeper
    links = lab.run(["ip", "-br", "link"]).out
    assert f"h{lab.instance}-feed" not in links and "hawse9" in links and "foreign1" in links
    assert not group.exists()
    assert (lab.root / "containers" / "keep-me").exists() and not (lab.root / "containers" / nobody).exists()
    lab.run(["sh", "-c", f"ip link del hawse9; ip link del foreign1; rmdir {lab.root}/containers/keep-me"])
    lab.hawse("network", "rm", "audited")


def test_a_verb_that_takes_its_time_delays_no_other_containers_repair(lab: Lab, web: str) -> None:
    """The verb is a stop whose gate thinks about it, and in the end refuses."""
    thinking, decided = lab.share / "thinking", lab.share / "decided"
    gate = lab.state / "hooks.d" / "10-slow.toml"
    script = lab.share / "slow-gate"
    script.write_text(f"#!/bin/sh\ntouch {thinking}\nwhile ! [ -e {decided} ]; do sleep 0.02; done\nexit 3\n")
    script.chmod(0o755)
    gate.write_text(f'on = "pre-stop"\ncommand = "{script}"\ntimeout = 60\nmatch = {{ container = "busy" }}\n')
    eventually(lambda: "pre-stop" in lab.hawse("hook", "ls").out)
    lab.hawse("run", "-d", "--name", "busy", "--network", "drift", "busybox", *HTTPD)
    address = lab.address("busy", "drift")
    (busy,) = (
        line.split("@")[0]
        for line in lab.run(["ip", "-br", "link", "show", "master", "drift"]).out.splitlines()
        if not line.startswith(f"{web}@")
    )
    stopping = lab.popen(["hawse", "stop", "busy"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(thinking.exists)
        for _ in range(3):
            before = len(repaired(lab))
            lab.run(["ip", "link", "delete", busy], check=False)
            lab.run(["ip", "link", "delete", web])
            eventually(lambda n=before: f"link {web}" in {event["object"] for event in repaired(lab)[n:]})  # type: ignore[misc]
            eventually(lambda: lab.client.get(HOST, 8080, "/index.html") == PAGE)
        assert stopping.poll() is None and not lab.run(["ip", "link", "show", busy], check=False).out
    finally:
        decided.touch()
        assert stopping.wait(PATIENCE) == 1
    eventually(lambda: lab.host.reaches(address, 80))
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
    gate.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")
    for file in (thinking, decided, script):
        file.unlink()
    lab.hawse("rm", "-f", "busy")


def test_two_tools_that_fight_cost_little(lab: Lab, web: str) -> None:
    """After a few repairs at once the pauses begin, and the journal is not flooded."""
    before, begun = len(repaired(lab)), time.monotonic()
    lab.run(["sh", "-c", f"for i in $(seq 30); do ip link set {web} down; done"])
    repairs = len(repaired(lab)) - before
    assert repairs <= 9 + (time.monotonic() - begun) / 0.5  # the shortest pause
    lab.run(["ip", "link", "set", web, "up"])
    eventually(lambda: lab.client.get(HOST, 8080, "/index.html") == PAGE)


def test_a_client_sees_no_failure_while_the_daemon_is_killed_and_started(lab: Lab, web: str) -> None:
    for _ in range(3):
        lab.daemon.kill9()
        for _ in range(5):
            assert lab.client.get(HOST, 8080, "/index.html") == PAGE
        lab.daemon.start()
        for _ in range(5):
            assert lab.client.get(HOST, 8080, "/index.html") == PAGE
    eventually(lambda: lab.hawse("audit", check=False).code == 0)
