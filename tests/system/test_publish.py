"""Published ports with real servers: from another machine, from the host itself, from containers, over tcp and udp."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import CLIENT, HOST, INTERNET, UPLINK, Lab
from hawse.cli.selftest.machine import Machine
from hawse.cli.selftest.snapshot import ruleset
from hawse.cli.selftest.waiting import PATIENCE, eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")
HELLO = b"hello from busybox\n"
UDP_ECHO = """
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalPort => 53, Proto => "udp") or die $!;
while ($socket->recv(my $data, 1500)) { $socket->send($data) }
"""


@pytest.fixture
def web(lab: Lab) -> Iterator[str]:
    """busybox's web server, published as 8080."""
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", *HTTPD)
    eventually(lambda: lab.client.reaches(HOST, 8080, timeout=0.5))
    yield "web"
    lab.hawse("rm", "-f", "web")


@pytest.fixture
def nginx(lab: Lab, debian: Path) -> Iterator[str]:
    lab.hawse("run", "-d", "--name", "nginx", "-p", "8080:80", "--rootfs", debian, "nginx", "-g", "daemon off;")
    eventually(lambda: lab.client.reaches(HOST, 8080, timeout=0.5))
    yield "nginx"
    lab.hawse("rm", "-f", "nginx")


def test_nginx_answers_another_machine(lab: Lab, nginx: str) -> None:
    assert b"Welcome to nginx" in lab.client.get(HOST, 8080)


def test_nginx_sees_who_asks(lab: Lab, nginx: str) -> None:
    lab.client.get(HOST, 8080)
    # It is written when the page is out already.
    log = eventually(lambda: lab.hawse("exec", nginx, "cat", "/var/log/nginx/access.log").out)
    assert log.startswith(f"{CLIENT} "), "the client's address is not hidden behind the host's"


def test_redis_keeps_what_another_machine_says(lab: Lab, debian: Path) -> None:
    lab.hawse(
        *("run", "-d", "--name", "redis", "-p", "6379:6379", "--rootfs", debian),
        *("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""),
    )
    eventually(lambda: lab.client.reaches(HOST, 6379, timeout=0.5))
    with lab.client.connect(HOST, 6379, timeout=PATIENCE) as connection:
        answers = connection.makefile("rb")
        for command, answer in (
            (b"PING", b"+PONG\r\n"),
            (b"SET who hawse", b"+OK\r\n"),
            (b"APPEND who !", b":6\r\n"),
            (b"STRLEN who", b":6\r\n"),
        ):
            connection.sendall(command + b"\r\n")
            assert answers.readline() == answer
    assert lab.hawse("exec", "redis", "redis-cli", "GET", "who").out == "hawse!\n"
    lab.hawse("stop", "-t", "60", "redis")
    assert lab.inspect("redis")["State"]["ExitCode"] == 0, "redis-server ends cleanly on SIGTERM"
    lab.hawse("rm", "redis")


def test_from_the_host_by_its_address_and_by_loopback(lab: Lab, web: str) -> None:
    assert lab.host.get(HOST, 8080, "/index.html") == HELLO
    assert lab.host.get(UPLINK, 8080, "/index.html") == HELLO
    assert lab.host.get("127.0.0.1", 8080, "/index.html") == HELLO


def test_hairpin_from_itself_and_from_a_neighbour(lab: Lab, web: str) -> None:
    url = f"http://{HOST}:8080/index.html"
    assert lab.hawse("exec", web, "timeout", "30", "wget", "-q", "-O", "-", url).stdout == HELLO
    assert lab.hawse("run", "--rm", "busybox", "timeout", "30", "wget", "-q", "-O", "-", url).stdout == HELLO


def test_from_a_container_of_another_network_by_the_hosts_address(lab: Lab, web: str) -> None:
    lab.hawse("network", "create", "other")
    url = f"http://{HOST}:8080/index.html"
    shown = lab.hawse("run", "--rm", "--network", "other", "busybox", "timeout", "30", "wget", "-q", "-O", "-", url)
    assert shown.stdout == HELLO
    lab.hawse("network", "rm", "other")


def test_what_is_not_published_cannot_be_reached_from_outside(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "hidden", "busybox", *HTTPD)
    address = lab.address("hidden", "bridge")
    eventually(lambda: lab.host.reaches(address, 80))
    assert "10.199.0.1" in lab.client.run(["ip", "route", "get", address]).out, "the client does route there"
    assert not lab.client.reaches(address, 80)
    assert not lab.internet.reaches(address, 80)
    lab.hawse("rm", "-f", "hidden")


def test_a_loopback_port_is_for_the_host_only(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "local", "-p", "127.0.0.1:8081:80", "busybox", *HTTPD)
    eventually(lambda: lab.host.reaches("127.0.0.1", 8081))
    assert lab.host.get("127.0.0.1", 8081, "/index.html") == HELLO
    assert not lab.client.reaches(HOST, 8081)
    assert not syn_is_answered(lab, "127.0.0.1", 8081), "loopback as destination on a wire is a martian"
    assert not syn_is_answered(lab, lab.address("local", "bridge"), 80)
    lab.hawse("rm", "-f", "local")


def test_a_raw_packet_to_a_published_port_is_answered(lab: Lab, web: str) -> None:
    """The control of the test above: the same packet, with an address that is meant for it."""
    assert syn_is_answered(lab, HOST, 8080, patience=30)


def syn_is_answered(lab: Lab, destination: str, port: int, patience: float = 1) -> bool:
    """Put a TCP SYN for any destination on the client's wire to the host, past the client's own routing."""
    (theirs,) = json.loads(lab.host.run(["ip", "-j", "link", "show", "cli0"]).out)
    (ours,) = json.loads(lab.client.run(["ip", "-j", "link", "show", "eth0"]).out)
    source = 4_123  # not one that the kernel gives to connections
    ends = socket.inet_aton(CLIENT) + socket.inet_aton(destination)

    def segment(check: int) -> bytes:
        return struct.pack("!HHIIBBHHH", source, port, 1, 0, 5 << 4, 0x02, 64_240, check, 0)

    def header(check: int) -> bytes:
        return struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, check) + ends

    def checksum(data: bytes) -> int:
        total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
        return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF

    ethernet = b"".join(bytes.fromhex(x["address"].replace(":", "")) for x in (theirs, ours)) + b"\x08\x00"
    tcp = segment(checksum(ends + struct.pack("!HH", 6, 20) + segment(0)))
    frame = ethernet + header(checksum(header(0))) + tcp
    with lab.client.open_socket(socket.SOCK_RAW, socket.AF_PACKET, socket.htons(0x0800)) as wire:
        wire.bind(("eth0", 0))
        wire.settimeout(patience)
        wire.send(frame)
        try:
            while True:
                answer = wire.recv(2000)[34:]
                if len(answer) >= 14 and struct.unpack("!HH", answer[:4]) == (port, source):
                    return answer[13] & 0x12 == 0x12
        except TimeoutError:
            return False


def test_a_port_bound_to_one_address_answers_there_only(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "one", "-p", f"{UPLINK}:8082:80", "busybox", *HTTPD)
    eventually(lambda: lab.internet.reaches(UPLINK, 8082))
    assert not lab.client.reaches(HOST, 8082)
    lab.hawse("rm", "-f", "one")


def test_two_addresses_share_a_port_number(lab: Lab) -> None:
    for name, address in (("first", HOST), ("second", UPLINK)):
        lab.hawse(
            *("run", "-d", "--name", name, "-p", f"{address}:8083:80", "busybox"),
            *("sh", "-c", f"mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 80 -h /w"),
        )
    assert eventually(lambda: lab.client.get(HOST, 8083, "/index.html")) == b"first\n"
    assert eventually(lambda: lab.client.get(UPLINK, 8083, "/index.html")) == b"second\n"
    lab.hawse("rm", "-f", "first", "second")


def test_a_range_maps_port_by_port(lab: Lab) -> None:
    script = "for p in 7000 7001 7002; do (while :; do echo $p | nc -l -p $p; done) & done; wait"
    lab.hawse("run", "-d", "--name", "range", "-p", "9100-9102:7000-7002", "busybox", "sh", "-c", script)

    def said(machine: Machine, port: int) -> bytes:
        with machine.connect(HOST, port, timeout=1) as connection:
            return connection.recv(10)

    for offset in range(3):
        assert eventually(lambda n=offset: said(lab.client, 9100 + n)) == f"{7000 + offset}\n".encode()  # type: ignore[misc]
    assert not lab.client.reaches(HOST, 9103, timeout=0.3)
    lab.hawse("rm", "-f", "range")


def test_a_free_port_is_chosen_and_shown(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "any", "-p", "80", "busybox", *HTTPD)
    (binding,) = lab.inspect("any")["NetworkSettings"]["Ports"]["80/tcp"]
    port = int(binding["HostPort"])
    assert port >= 1024
    assert f"{port}->80/tcp" in lab.hawse("ps").out
    assert eventually(lambda: lab.client.get(HOST, port, "/index.html")) == HELLO
    lab.hawse("rm", "-f", "any")


@pytest.mark.parametrize("vantage", ["client", "host", "loopback"])
def test_udp_is_answered_from_the_address_that_was_asked(lab: Lab, debian: Path, vantage: str) -> None:
    lab.hawse("run", "-d", "--name", "echo", "-p", "5353:53/udp", "--rootfs", debian, "perl", "-e", UDP_ECHO)
    machine = lab.client if vantage == "client" else lab.host
    target = "127.0.0.1" if vantage == "loopback" else HOST

    def echoed() -> tuple[bytes, tuple[str, int]]:
        with machine.open_socket(socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.sendto(b"over udp", (target, 5353))
            data, peer = sock.recvfrom(100)
            return data, peer

    assert eventually(echoed) == (b"over udp", (target, 5353))
    lab.hawse("rm", "-f", "echo")


def test_containers_reach_out_as_the_host(lab: Lab) -> None:
    with lab.internet.listen(9000) as listener:
        lab.hawse("run", "-d", "--name", "out", "busybox", "sh", "-c", f"echo hi | nc -w 60 {INTERNET} 9000")
        connection, peer = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            assert (connection.recv(10), peer[0]) == (b"hi\n", UPLINK)
    assert lab.hawse("wait", "out").out == "0\n"
    lab.hawse("rm", "out")


def test_a_thousandth_port_is_one_element_not_one_rule(lab: Lab) -> None:
    def shape() -> tuple[int, int]:
        lines = ruleset(lab.world).elements()
        kinds = [line.split()[0] for line in lines]
        return kinds.count("rule"), kinds.count("element")

    lab.hawse("run", "-d", "--name", "one", "-p", "8101:80", "busybox", "sleep", "100")
    rules, elements = shape()
    lab.hawse("run", "-d", "--name", "two", "-p", "8102:80", "busybox", "sleep", "100")
    more_rules, more_elements = shape()
    assert more_rules == rules
    assert more_elements > elements
    lab.hawse("rm", "-f", "one", "two")


def test_a_stopped_containers_port_is_closed_and_open_again_after_start(lab: Lab, web: str) -> None:
    lab.hawse("stop", "-t", "0", web)
    eventually(lambda: not lab.client.reaches(HOST, 8080, timeout=0.3))
    lab.hawse("start", web)
    assert eventually(lambda: lab.client.get(HOST, 8080, "/index.html")) == HELLO


def test_a_long_connection_survives_other_containers_coming_and_going(lab: Lab, web: str) -> None:
    with lab.client.connect(HOST, 8080, timeout=PATIENCE) as connection:
        connection.sendall(b"GET /index.html HTTP/1.0\r\n")
        lab.hawse("run", "--rm", "-p", "8099:80", "busybox", "true")
        connection.sendall(b"\r\n")
        assert connection.makefile("rb").read().endswith(HELLO)
