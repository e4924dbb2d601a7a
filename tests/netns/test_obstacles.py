"""Other programs' chains that cut a network are found, with the remedy, and those that do not are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from hawse.supervisor.core.model import Network, NetworkName
from hawse.supervisor.network import obstacles, verdict
from tests.netns.conftest import Machine

BLUE = Network(
    id="b" * 64,
    name=NetworkName("blue"),
    driver="bridge",
    created_at=1,
    subnet=IPv4Network("10.10.10.0/24"),
    gateway=IPv4Address("10.10.10.1"),
    device="blue",
)
OUT, IN, WITHIN, NAMES = (
    "containers do not reach other machines",
    "published ports cannot be reached from other machines",
    "containers do not reach each other",
    "containers cannot ask for names",
)
HOOK = "type filter hook {} priority 0; policy {};"


def chain(hook: str, policy: str, *rules: str, table: str = "ip filter", name: str = "") -> str:
    name = name or hook.upper()
    lines = [f"add table {table}", f"add chain {table} {name} {{ {HOOK.format(hook, policy)} }}"]
    return "\n".join([*lines, *(f"add rule {table} {name} {rule}" for rule in rules)])


@pytest.fixture
def machine(host: Machine) -> Iterator[Machine]:
    with host.entered():
        host.run("ip", "link", "add", "blue", "type", "bridge")
        host.run("ip", "link", "add", "up0", "type", "bridge")
        yield host


def found(machine: Machine, rules: str) -> dict[str, str]:
    """What does not work → by whom; with the bridges' packets shown to iptables."""
    machine.run("sh", "-c", "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true")
    machine.run("nft", rules)
    return {o.what: f"{o.by}: {o.remedy}" for o in obstacles.find([BLUE], "hawse", "up0")["blue"]}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (chain("forward", "accept"), set()),
        (chain("forward", "drop"), {OUT, IN, WITHIN}),
        (chain("forward", "drop", "ct state established,related accept"), {OUT, IN, WITHIN}),
        (chain("forward", "drop", "iifname blue accept", "oifname blue accept"), set()),
        (chain("forward", "drop", "iifname blue accept", "oifname blue ct state established accept"), {IN}),
        (chain("forward", "drop", 'iifname "bl*" accept', 'oifname "bl*" accept'), set()),
        (chain("forward", "drop", "iif blue accept", "oif blue accept"), set()),
        (chain("forward", "drop", "iifname { blue, red } accept", "oifname { blue, red } accept"), set()),
        (chain("forward", "drop", "iifname { green, red } accept", "oifname != blue accept"), {IN, WITHIN, OUT}),
        (chain("forward", "drop", "iifname . oifname { blue . up0, up0 . blue, blue . blue } accept"), set()),
        (chain("forward", "drop", "ip saddr 10.10.10.0/24 accept", "ip daddr 10.10.10.0/24 accept"), set()),
        (chain("forward", "drop", "ip saddr 10.0.0.0-10.255.255.255 accept", "ct state established accept"), {IN}),
        (chain("forward", "accept", "ip saddr 192.0.2.1 drop", "tcp dport { 22, 25 } drop"), set()),
        (
            chain("forward", "accept", "ct state invalid drop", "meta mark 1 drop", "limit rate over 9/second drop"),
            set(),
        ),
        (chain("forward", "accept", "ct state vmap { established : accept, new : drop }"), {OUT, IN, WITHIN}),
        (chain("forward", "accept", "iifname vmap { blue : drop }"), {OUT, IN, WITHIN}),
        (
            chain("forward", "accept", "counter reject with icmpx admin-prohibited", table="inet firewalld"),
            {OUT, IN, WITHIN},
        ),
        (chain("forward", "accept", "ct status dnat accept", "reject", table="inet f"), {OUT, WITHIN}),
        (chain("prerouting", "accept", "fib saddr . iif oif missing drop", "iifname blue drop"), {OUT, NAMES}),
        (chain("postrouting", "accept", "oifname up0 drop"), {OUT}),
        (chain("input", "drop", "ct state established accept", "iifname lo accept", "tcp dport 22 accept"), {NAMES}),
        (chain("input", "drop", "udp dport 53 accept"), set()),
        (
            chain("input", "drop", "fib daddr type local iifname blue meta l4proto { tcp, udp } th dport 53 accept"),
            set(),
        ),
        (chain("output", "drop", "ct state established accept"), set()),
        (chain("output", "drop", "oifname lo accept"), {NAMES}),
        (chain("forward", "drop", table="bridge f"), {WITHIN}),
        (chain("forward", "drop", table="inet hawse"), set()),
        (chain("forward", "drop", table="inet firewalld_policy_drop"), set()),
        (chain("forward", "drop", table="ip6 filter"), set()),
        (chain("forward", "drop", "iifname blue jump { accept; }", "oifname blue goto { return; }"), {OUT, IN}),
    ],
)
def test_what_is_cut(machine: Machine, rules: str, expected: set[str]) -> None:
    told = found(machine, rules)
    if machine.run("sh", "-c", "cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true") != "1\n":
        expected -= {WITHIN} if "bridge f" not in rules else set()
    assert set(told) == expected, told


@pytest.mark.parametrize(
    ("rules", "what", "by", "remedy"),
    [
        (
            chain("forward", "drop", "jump DOCKER-USER").replace(
                "\nadd rule", "\nadd chain ip filter DOCKER-USER\nadd rule"
            ),
            OUT,
            "ip filter FORWARD",
            "iptables -I DOCKER-USER -i blue -j ACCEPT && iptables -I DOCKER-USER -o blue -j ACCEPT",
        ),
        (
            chain("forward", "accept", "goto REJECTED", table="inet firewalld", name="filter_FORWARD").replace(
                "\nadd rule", "\nadd chain inet firewalld REJECTED; add rule inet firewalld REJECTED reject\nadd rule"
            ),
            OUT,
            "inet firewalld filter_FORWARD (in REJECTED)",
            "firewall-cmd --permanent --zone=trusted --add-interface=blue && firewall-cmd --reload",
        ),
        (
            chain("input", "drop") + "\nadd chain ip filter ufw-user-input",
            NAMES,
            "ip filter INPUT",
            "ufw allow in on blue to any port 53",
        ),
        (
            chain("forward", "drop") + "\nadd chain ip filter ufw-user-forward",
            IN,
            "ip filter FORWARD",
            "ufw route allow in on blue && ufw route allow out on blue",
        ),
        (chain("input", "drop"), NAMES, "ip filter INPUT", "nft insert rule ip filter INPUT iifname blue accept"),
    ],
)
def test_who_and_the_remedy(machine: Machine, rules: str, what: str, by: str, remedy: str) -> None:
    assert found(machine, rules)[what] == f"{by}: {remedy}"


def test_a_chain_that_is_too_long_is_taken_to_let_through(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MOST_RULES", 5)
    blocked = ["ip saddr 192.0.2.1 drop"] * 5
    assert found(machine, chain("forward", "accept", *blocked, "drop")) == {}


LEGACY_DOCKER = """*filter
:FORWARD DROP
:DOCKER-USER -
:DOCKER-FORWARD -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-USER -m comment --comment "none of mine"
{}
COMMIT
"""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("*filter\n:FORWARD ACCEPT\nCOMMIT\n", set()),
        (
            "*filter\n:FORWARD DROP\n-A FORWARD -i bl+ -j ACCEPT\n-A FORWARD ! -i blue -o blue -j ACCEPT\nCOMMIT\n",
            set(),
        ),
        ("*filter\n:FORWARD DROP\n-A FORWARD -s 10.10.0.0/16 -j ACCEPT\nCOMMIT\n", {OUT, IN}),
        ("*filter\n-A FORWARD ! -s 192.0.2.0/24 -p tcp -j REJECT\nCOMMIT\n", {OUT, IN, WITHIN}),
        ("*filter\n-A FORWARD -s 192.0.2.1 -j DROP\n-A FORWARD -p udp -j DROP\n-A FORWARD -f -j DROP\nCOMMIT\n", set()),
        ("*filter\n:INPUT DROP\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n", {NAMES}),
        ("*filter\n:INPUT DROP\n-A INPUT -i blue -p udp -m udp --dport 53 -j ACCEPT\nCOMMIT\n", set()),
        ("*mangle\n-A POSTROUTING -o up0 -j DROP\nCOMMIT\n", {OUT}),
        (
            "*filter\n:A -\n:B -\n-A FORWARD -g A\n-A FORWARD -j DROP\n-A A -j B\n-A A -j RETURN\n-A B -j RETURN\nCOMMIT\n",
            set(),
        ),
        (
            "*filter\n:A -\n-A FORWARD -j A\n-A FORWARD -j DROP\n-A A -o blue -j ACCEPT\n-A A -i blue -j ACCEPT\nCOMMIT\n",
            set(),
        ),
        (LEGACY_DOCKER.format(""), {OUT, IN, WITHIN}),
        (LEGACY_DOCKER.format("-A DOCKER-USER -i blue -j ACCEPT\n-A DOCKER-USER -o blue -j ACCEPT"), set()),
    ],
)
def test_what_iptables_legacy_cuts(machine: Machine, rules: str, expected: set[str]) -> None:
    told = found_legacy(machine, rules)
    if machine.run("sh", "-c", "cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true") != "1\n":
        expected -= {WITHIN}
    assert set(told) == expected, told


def test_who_of_iptables_legacy_and_the_remedy(machine: Machine) -> None:
    told = found_legacy(machine, LEGACY_DOCKER.format("") + "*filter\n-A INPUT -j DROP\nCOMMIT\n")
    docker, own = "iptables-legacy -I DOCKER-USER", "iptables-legacy -t filter -I INPUT"
    by = "iptables-legacy filter FORWARD"
    assert told[OUT] == f"{by}: {docker} -i blue -j ACCEPT && {docker} -o blue -j ACCEPT"
    assert told[NAMES] == f"iptables-legacy filter INPUT: {own} -i blue -j ACCEPT"


def test_a_remedy_of_iptables_legacy_mends(machine: Machine) -> None:
    rules = "*filter\n:FORWARD DROP\n:INPUT DROP\nCOMMIT\n*mangle\n-A OUTPUT -p udp -j DROP\nCOMMIT\n"
    told = found_legacy(machine, rules)
    assert {OUT, IN, NAMES} <= set(told)
    for _ in range(2):  # a remedy is for what is met first
        for line in told.values():
            machine.run("sh", "-c", line.partition(": ")[2])
        told = found_legacy(machine, "")
    assert told == {}


def test_looking_makes_no_table_of_iptables_legacy(machine: Machine) -> None:
    tables = "cat /proc/net/ip_tables_names 2>/dev/null || true"
    before = machine.run("sh", "-c", tables)
    found(machine, "list tables")
    assert machine.run("sh", "-c", tables) == before == ""


def found_legacy(machine: Machine, rules: str) -> dict[str, str]:
    """As `found`, of what iptables-legacy-restore is told."""
    machine.run("sh", "-c", f"iptables-legacy-restore --wait --noflush <<'END'\n{rules}END")
    return found(machine, "list tables")
