"""Names on the networks that users make: who is told what, by whom, and what is passed on."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import INTERNET, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.lab.internet import internet_names

IDLE = ("sleep", "1000")


@pytest.fixture
def blue(lab: Lab) -> Iterator[Lab]:
    """Two networks; `web` and `web2` on blue, both called www, and `db` on red."""
    lab.hawse("network", "create", "blue")
    lab.hawse("network", "create", "red")
    for name, network, *flags in (
        ("web", "blue", "--network-alias", "www"),
        ("web2", "blue", "--network-alias", "www", "--hostname", "second"),
        ("db", "red"),
    ):
        lab.hawse("run", "-d", "--name", name, "--network", network, *flags, "busybox", *IDLE)
    yield lab
    lab.hawse("rm", "-f", "web", "web2", "db")
    lab.hawse("network", "rm", "blue", "red")


def lookup(lab: Lab, container: str, name: str, *server: str) -> list[str]:
    """The addresses that busybox's nslookup is told inside a container."""
    shown = lab.hawse("exec", container, "nslookup", "-type=a", name, *server, check=False).out
    return re.findall(r"^Address: ([0-9.]+)$", shown, re.MULTILINE)


def test_containers_find_each_other_by_name_alias_hostname_and_id(blue: Lab) -> None:
    web, web2 = blue.address("web", "blue"), blue.address("web2", "blue")
    short = blue.inspect("web2")["Id"][:12]
    for name in ("web2", "WEB2", "second", short, "web2.blue"):
        assert lookup(blue, "web", name) == [web2], name
    assert sorted(lookup(blue, "web", "www")) == sorted([web, web2])
    assert {lookup(blue, "web", "www")[0] for _ in range(4)} == {web, web2}, "the addresses are not rotated"
    assert "name = web2.blue" in blue.hawse("exec", "web", "nslookup", web2).out
    assert blue.hawse("exec", "web", "ping", "-c", "1", "-W", "30", "web2").code == 0


def test_a_network_is_not_told_the_names_of_another(blue: Lab) -> None:
    with internet_names(blue):
        assert not lookup(blue, "web", "db")
        gateway = blue.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "red").out.strip()
        assert not lookup(blue, "web", "db", gateway), "the other network's name server answers strangers"
        assert not lookup(blue, "web", "web2", gateway)
        blue.hawse("network", "connect", "--alias", "visitor", "red", "web")
        assert lookup(blue, "web", "db") == [blue.address("db", "red")]
        assert lookup(blue, "db", "visitor") == [blue.address("web", "red")]
        blue.hawse("network", "disconnect", "red", "web")
        assert not lookup(blue, "db", "visitor")
        assert not lookup(blue, "web", "db")


def test_names_follow_what_happens(blue: Lab) -> None:
    """A rename, an exit, a new start, a daemon that was killed."""
    address = blue.address("web2", "blue")
    blue.hawse("rename", "web2", "other")
    assert lookup(blue, "web", "other") == [address]
    with internet_names(blue):
        assert not lookup(blue, "web", "web2")
        blue.hawse("stop", "-t", "0", "other")
        assert not lookup(blue, "web", "other")
    blue.hawse("start", "other")
    assert lookup(blue, "web", "other") == [blue.address("other", "blue")]
    blue.daemon.kill9()
    blue.daemon.start()
    assert lookup(blue, "web", "other") == [blue.address("other", "blue")]
    blue.hawse("rename", "other", "web2")


def test_other_names_are_asked_for_by_the_daemon(blue: Lab) -> None:
    with internet_names(blue) as asked:
        assert lookup(blue, "web", "www.example.org") == ["203.0.113.7"]
        assert big_name(blue) == ["203.0.113.7"], "cut short by UDP, complete by TCP"
        assert not lookup(blue, "web", "nothing.example.com")
        assert lookup(blue, "web", "web2") and "web2" not in asked, "the names of containers stay here"
        blue.hawse("network", "create", "--internal", "closed")
        shown = blue.hawse(
            "run", "--rm", "--network", "closed", "busybox", "nslookup", "secret.example.org", check=False
        )
        assert "REFUSED" in shown.out and "secret.example.org" not in asked
        blue.hawse("network", "rm", "closed")


def test_a_container_may_have_forwarders_of_its_own(blue: Lab) -> None:
    """--dns: the host's name servers, here none that answers, are not asked."""
    with internet_names(blue) as asked:
        (blue.share / "resolv.conf").write_text("nameserver 127.0.0.9\n")
        asker = ("run", "--rm", "--network", "blue", "--dns", INTERNET, "busybox")
        assert "203.0.113.7" in blue.hawse(*asker, "nslookup", "-type=a", "own.example.org").out
        assert "own.example.org" in asked


def test_debian_resolves_too(blue: Lab, debian: Path) -> None:
    """glibc's resolver, the nsswitch way; what was cut short by UDP it asks for by TCP."""
    asker = ("run", "--rm", "--network", "blue", "--rootfs", debian, "getent")
    assert blue.hawse(*asker, "ahostsv4", "web").out.split()[0] == blue.address("web", "blue")
    assert blue.hawse(*asker, "hosts", "web").out.split()[0] == blue.address("web", "blue")
    with internet_names(blue):
        for database in ("hosts", "ahostsv4", "ahosts"):
            for name in ("www.example.org", "big.example.org"):
                assert blue.hawse(*asker, database, name).out.split()[0] == "203.0.113.7", (database, name)


def test_files_follow_the_networks_of_a_running_container(blue: Lab) -> None:
    """Its own addresses in /etc/hosts and the name server in /etc/resolv.conf; what it has written itself stays."""
    blue.hawse("run", "-d", "--name", "rover", "busybox", *IDLE)
    blue.hawse("run", "-d", "--name", "mate", "--network", "container:rover", "busybox", *IDLE)
    blue.hawse("exec", "rover", "sh", "-c", "echo 192.0.2.9 mine >> /etc/hosts")
    hostname = blue.inspect("rover")["Config"]["Hostname"]

    def own(name: str = "rover") -> list[str]:
        lines = blue.hawse("exec", name, "cat", "/etc/hosts").out.splitlines()
        assert name == "mate" or "192.0.2.9 mine" in lines
        return [line.split()[0] for line in lines if line.endswith(f"\t{hostname}")]

    first = own()
    blue.hawse("network", "connect", "blue", "rover")
    assert own() == own("mate") == [*first, blue.address("rover", "blue")]
    for name in ("rover", "mate"):
        assert lookup(blue, name, "web") == [blue.address("web", "blue")]
    blue.hawse("network", "connect", "red", "rover")
    blue.hawse("network", "disconnect", "blue", "rover")
    assert own() == own("mate") == [*first, blue.address("rover", "red")]
    assert lookup(blue, "rover", "db") == [blue.address("db", "red")], "the name server of blue answers it no more"
    blue.hawse("network", "disconnect", "red", "rover")
    assert own() == first
    assert "ndots:0" not in blue.hawse("exec", "rover", "cat", "/etc/resolv.conf").out
    blue.hawse("rm", "-f", "mate", "rover")


def test_files_follow_though_the_daemon_is_killed_in_between(blue: Lab) -> None:
    blue.hawse("run", "-d", "--name", "rover", "busybox", *IDLE)
    blue.daemon.kill9()
    blue.daemon.start(env={"HAWSE_FAULT": "live.connected"})
    assert blue.hawse("network", "connect", "blue", "rover", check=False).code != 0
    blue.daemon.wait_dead()
    blue.daemon.start()
    assert f"{blue.address('rover', 'blue')}\t" in blue.hawse("exec", "rover", "cat", "/etc/hosts").out
    assert lookup(blue, "rover", "web") == [blue.address("web", "blue")]
    blue.hawse("rm", "-f", "rover")


def test_port_53_can_be_published_all_the_same(blue: Lab) -> None:
    """What is sent to the host's own address is the container's, what is sent to a gateway is ours."""
    answer = "while :; do echo theirs | nc -l -p 53; done"
    blue.hawse("run", "-d", "--name", "resolver", "-p", "53:53/udp", "-p", "53:53/tcp", "busybox", "sh", "-c", answer)

    def asked() -> bytes:
        with blue.client.connect("10.199.0.1", 53) as connection:
            return connection.recv(100)

    assert eventually(asked) == b"theirs\n"
    web2 = blue.address("web2", "blue")
    assert lookup(blue, "web", "web2") == [web2]
    with internet_names(blue):
        assert big_name(blue) == ["203.0.113.7"], "by TCP"
    blue.daemon.kill9()
    blue.daemon.start()
    blue.hawse("network", "create", "later")
    said = blue.hawse("run", "--rm", "--name", "me", "--network", "later", "busybox", "nslookup", "-type=a", "me").out
    assert "Address: 1" in said
    assert eventually(asked) == b"theirs\n"
    blue.hawse("rm", "-f", "resolver")
    gateway = blue.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue").out.strip()
    refused = blue.hawse("run", "--rm", "-p", f"{gateway}:53:53/udp", "busybox", "true", check=False)
    assert refused.code == 125 and "address already in use" in refused.err
    blue.hawse("network", "rm", "later")


def test_no_question_ends_the_daemon(blue: Lab) -> None:
    """Too many in one message, and one whose answer DNS cannot tell: a name of more than 63 bytes."""
    long = "a" * 64
    blue.hawse("run", "-d", "--name", long, "--network", "blue", "busybox", *IDLE)
    many = struct.pack("!6H", 7, 0x0100, 200, 0, 0, 0) + b"\3web\0\0\1\0\1" * 200
    gateway = blue.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue").out.strip()
    program = (
        "import socket; sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"sock.settimeout({PATIENCE}); sock.sendto({many!r}, ({gateway!r}, 53)); print(sock.recv(9999)[3] & 15)"
    )
    daemon, pid = blue.daemon.pid, blue.inspect("web")["State"]["Pid"]
    asked = blue.run(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", program], check=False)
    assert (asked.out, blue.daemon.pid) == ("1\n", daemon), "FORMERR"
    address = blue.address(long, "blue")
    assert "NXDOMAIN" in blue.hawse("exec", "web", "nslookup", address, check=False).out
    assert lookup(blue, "web", long[:63]) == [] and blue.daemon.pid == daemon
    blue.hawse("rm", "-f", long)


def test_resolv_conf(blue: Lab) -> None:
    gateway = blue.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue").out.strip()
    shown = blue.hawse(
        *("run", "--rm", "--network", "blue", "--dns", INTERNET, "--dns-search", "example.org", "busybox"),
        *("cat", "/etc/resolv.conf"),
    ).out
    assert shown.splitlines() == ["search example.org", f"nameserver {gateway}", "options ndots:0"]
    shared = blue.hawse("run", "--rm", "--network", "container:web", "busybox", "cat", "/etc/resolv.conf").out
    assert f"nameserver {gateway}" in shared
    plain = blue.hawse("run", "--rm", "--dns", INTERNET, "busybox", "cat", "/etc/resolv.conf").out
    assert f"nameserver {INTERNET}" in plain


def test_the_machines_resolvers_behind_systemd_resolved(blue: Lab) -> None:
    """The stub is on the host's loopback: on the default network the container is told whom it asks, and not 8.8.8.8."""
    (blue.share / "stub.conf").write_text("nameserver 127.0.0.53\noptions edns0\nsearch house.example\n")
    blue.run(["mount", "--bind", blue.share / "stub.conf", "/etc/resolv.conf"])
    blue.run(["mkdir", "-p", "/run/systemd/resolve"])
    found = blue.inside / "run/systemd/resolve/resolv.conf"
    try:
        show = ("run", "--rm", "busybox", "cat", "/etc/resolv.conf")
        assert "nameserver 8.8.8.8" in blue.hawse(*show).out
        found.write_text(f"nameserver {INTERNET}\nsearch house.example\n")
        assert blue.hawse(*show).out == f"search house.example\nnameserver {INTERNET}\n"
        host = blue.hawse("run", "--rm", "--network", "host", "busybox", "cat", "/etc/resolv.conf").out
        assert "nameserver 127.0.0.53" in host
    finally:
        blue.run(["umount", "/etc/resolv.conf"])
        blue.run(["rm", "-r", "/run/systemd", blue.share / "stub.conf"])


def big_name(lab: Lab) -> list[str]:
    """What a resolver in web's network namespace learns when it asks by UDP, and by TCP because that was cut short."""
    gateway = lab.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue").out.strip()
    program = (
        "import dns.message, dns.query; q = dns.message.make_query('big.example.org', 'A');"
        f"print(dns.query.udp_with_fallback(q, '{gateway}', timeout={PATIENCE})[0].answer[0][0])"
    )
    pid = lab.inspect("web")["State"]["Pid"]
    return lab.run(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", program]).out.split()
