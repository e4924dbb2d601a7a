"""docker, ufw and firewalld beside hawse: what they cut is told with the remedy, and the remedy mends it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(900)

OUTSIDE = """
ip netns add out
ip link add up1 type veth peer name eth0 netns out
ip addr add 198.51.100.1/24 dev up1 && ip link set up1 up
ip -n out addr add 198.51.100.2/24 dev eth0 && ip -n out link set eth0 up
ip route add default via 198.51.100.2
"""
DOCKER = "curl -s --unix-socket /run/docker.sock -H 'Content-Type: application/json'"
AUDIT = "hawse audit | grep '^blue' || true"


@pytest.fixture
def neighbours(machine: Machine) -> Iterator[Machine]:
    """Another machine behind the default route, a published web server on a network of its own."""
    machine.run(OUTSIDE)
    machine.run("hawse network create blue")
    machine.run(
        "hawse run -d --name web --network blue -p 8080:80 busybox "
        "sh -c 'mkdir /www; echo page >/www/index.html; httpd -f -h /www'"
    )
    yield machine
    machine.run("ip link del up1; ip netns del out")


def outside(machine: Machine) -> str:
    """What another machine gets from the published port."""
    return machine.run("ip netns exec out curl -s -m 9 198.51.100.1:8080 || true").out


INSIDE = """
web=$(hawse inspect web | jq -r '.[].NetworkSettings.Networks.blue.IPAddress')
hawse run --rm --network blue busybox sh -c "
    ping -q -c 1 -W 9 198.51.100.2 >/dev/null && echo out
    ping -q -c 1 -W 9 $web >/dev/null && echo within
    nslookup web. | grep -q $web && echo names"
"""
ALL = ["out", "within", "names"]


def inside(machine: Machine) -> list[str]:
    """What a new container reaches: another machine, another container, the name server."""
    return machine.run(INSIDE, check=False).out.split()


def settled(machine: Machine, told: bool) -> str:
    """The audit's lines about the network, when there are some, or none any more."""
    wanted = "test -n" if told else "test -z"
    machine.run(f'for _ in $(seq 30); do {wanted} "$({AUDIT})" && break; sleep 1; done')
    return machine.run(AUDIT).out


@pytest.mark.parametrize(
    ("begin", "remedies", "end", "cut"),
    [
        (
            "ufw --force enable",
            "ufw route allow in on blue && ufw route allow out on blue && ufw allow in on blue to any port 53",
            "ufw --force reset; ufw --force disable; nft delete table ip filter; nft delete table ip6 filter",
            True,
        ),
        (
            "systemctl start firewalld",
            "firewall-cmd --permanent --zone=trusted --add-interface=blue && firewall-cmd --reload",
            "firewall-cmd --permanent --zone=trusted --remove-interface=blue; systemctl stop firewalld",
            False,
        ),
    ],
    ids=["ufw", "firewalld"],
)
def test_a_firewall_is_told_and_mended(neighbours: Machine, begin: str, remedies: str, end: str, cut: bool) -> None:
    assert (outside(neighbours), neighbours.run(AUDIT).out) == ("page\n", "")
    try:
        neighbours.run(begin)
        told = settled(neighbours, True)
        assert "containers cannot ask for names" in told and "containers do not reach other machines" in told
        assert ("published ports" in told) is cut and all(part in told for part in remedies.split(" && ")), told
        assert (outside(neighbours) == "page\n") is not cut
        neighbours.run(remedies)
        assert settled(neighbours, False) == ""
        assert (outside(neighbours), inside(neighbours)) == ("page\n", ALL)
    finally:
        neighbours.run(end, check=False)
    assert outside(neighbours) == "page\n"


def test_docker_first(neighbours: Machine) -> None:
    """docker finds ip_forward off, switches it on and lays a policy of drop on FORWARD; and it is refused our port."""
    neighbours.run(
        "systemctl stop hawse.service hawse.socket; sysctl -qw net.ipv4.ip_forward=0; systemctl start docker"
    )
    try:
        neighbours.run(f"for _ in $(seq 60); do {DOCKER} http://d/_ping && break; sleep 1; done")
        neighbours.run("systemctl start hawse.socket hawse.service")
        told = settled(neighbours, True)
        assert "ip filter FORWARD" in told and "iptables -I DOCKER-USER -i blue -j ACCEPT" in told
        assert outside(neighbours) == ""
        neighbours.run("iptables -I DOCKER-USER -i blue -j ACCEPT && iptables -I DOCKER-USER -o blue -j ACCEPT")
        assert settled(neighbours, False) == ""
        assert (outside(neighbours), inside(neighbours)) == ("page\n", ALL)
        neighbours.run(f"{DOCKER} --data-binary @/share/busybox.tar 'http://d/images/create?fromSrc=-&repo=busybox'")
        port = {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}
        other = json.dumps({"Image": "busybox", "Cmd": ["sleep", "9"], **port})  # it publishes what is exposed
        neighbours.run(f"{DOCKER} -d '{other}' 'http://d/containers/create?name=other'")
        assert "address already in use" in neighbours.run(f"{DOCKER} -X POST http://d/containers/other/start").out
        assert outside(neighbours) == "page\n"
    finally:
        neighbours.run(
            f"{DOCKER} -X DELETE 'http://d/containers/other?force=1'; systemctl stop docker.service docker.socket;"
            "nft delete table ip filter; nft delete table ip nat; ip link del docker0; systemctl start hawse.service",
            check=False,
        )


TRAFFIC = """
web=$(hawse inspect web | jq -r '.[].NetworkSettings.Networks.blue.IPAddress')
hawse run -d --name client --network blue busybox sh -c "ping 198.51.100.2 >/out & ping $web >/within & wait"
ask='ip netns exec out curl -s -m 9 198.51.100.1:8080'
systemd-run -q -u asking sh -c "while sleep 0.5; do $ask || echo lost; done >/run/asked"
"""
ANSWERED = """
hawse exec client sh -c 'cp out within /tmp && cd /tmp && for file in out within; do
    last=$(grep -o "seq=[0-9]*" $file | tail -n 1)
    echo $((${last#seq=} + 1)) $(grep -c "bytes from" $file)
done'
"""


def test_docker_afterwards_and_going_again_while_there_is_traffic(neighbours: Machine) -> None:
    """It finds ip_forward on, so it lays no policy; the chains that it leaves behind let ours through."""
    neighbours.run(TRAFFIC)
    try:
        for change in (
            "start docker",
            "restart docker",
            "stop docker.service docker.socket",
            "restart hawse",
            "start docker",
        ):
            neighbours.run(f"systemctl {change}; sleep 5")
            assert (neighbours.run("hawse audit | grep blue || true").out, outside(neighbours)) == ("", "page\n"), (
                change
            )
        assert "jump DOCKER-USER" in neighbours.run("nft list chain ip filter FORWARD").out
        for sent, answered in (line.split() for line in neighbours.run(ANSWERED).out.splitlines()):
            assert sent == answered, "none was lost before the last that was answered"
        assert set(neighbours.run("systemctl stop asking; sort /run/asked | uniq").out.split()) == {"page"}
    finally:
        neighbours.run(
            "systemctl stop asking docker.service docker.socket; nft delete table ip filter; nft delete table ip nat;"
            "ip link del docker0",
            check=False,
        )
