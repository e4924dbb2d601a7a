"""A published port is held while its container runs: whoever else wants it is told that it is in use."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import eventually

HTTPD = ("busybox", "httpd", "-f", "-p", "80", "-h", "/www")
PAGE = b"hello from busybox\n"


def taken(lab: Lab, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether a program of the host is refused the port, as most servers ask for it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.host.open_socket(kind, family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        except OSError as e:
            assert e.errno == errno.EADDRINUSE
            return True
    return False


@contextmanager
def server(lab: Lab, port: int) -> Iterator[None]:
    """A process of the host that listens."""
    with lab.host.listen(port) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = lab.popen(["sleep", "1000"], pass_fds=[listener.fileno()])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def events(lab: Lab, kind: str) -> list[dict[str, Any]]:
    lines = lab.hawse("events", "--no-follow").out.splitlines()
    return [event["data"] for event in map(json.loads, lines) if event["type"] == kind]


def test_a_published_port_is_refused_to_others(lab: Lab) -> None:
    """A server of the host bound the port, said nothing, and had no clients."""
    ports = ("-p", "8080:80", "-p", "5353:53/udp", "-p", "127.0.0.1:8081:80", "-p", "8090-8092:90-92")
    lab.hawse("run", "-d", "--name", "web", *ports, *HTTPD)
    for address in ("0.0.0.0", "127.0.0.1", HOST, "::"):
        assert taken(lab, address, 8080)
    assert taken(lab, "0.0.0.0", 5353, socket.SOCK_DGRAM) and not taken(lab, "0.0.0.0", 5353)
    assert taken(lab, "127.0.0.1", 8081) and taken(lab, "0.0.0.0", 8081) and not taken(lab, HOST, 8081)
    assert all(taken(lab, "0.0.0.0", port) for port in (8090, 8091, 8092)) and not taken(lab, "0.0.0.0", 8093)
    assert eventually(lambda: lab.client.get(HOST, 8080, "/index.html")) == PAGE
    assert lab.host.get("127.0.0.1", 8080, "/index.html") == PAGE
    assert lab.host.get("127.0.0.1", 8081, "/index.html") == PAGE
    lab.hawse("stop", "-t", "0", "web")
    assert not taken(lab, "0.0.0.0", 8080) and not taken(lab, "0.0.0.0", 5353, socket.SOCK_DGRAM)
    lab.hawse("start", "web")
    assert taken(lab, "0.0.0.0", 8080)
    lab.hawse("rm", "-f", "web")
    assert not taken(lab, "0.0.0.0", 8080)


def break_program(lab: Lab) -> None:
    assert lab.hawse("run", "--name", "bad", "-p", "8080:80", "busybox", "/nope", check=False).code == 127
    lab.hawse("rm", "bad")


def break_claim(lab: Lab) -> None:
    with lab.host.listen(8081):
        tried = ("run", "--rm", "-p", "8080:80", "-p", "8081:81", "busybox", "true")
        assert "address already in use" in lab.hawse(*tried, check=False).err


@pytest.mark.parametrize("failed", [break_program, break_claim])
def test_a_start_that_fails_holds_nothing(lab: Lab, failed: Callable[[Lab], None]) -> None:
    failed(lab)
    assert not taken(lab, "0.0.0.0", 8080)


def test_ports_stay_held_when_their_network_changes(lab: Lab) -> None:
    lab.hawse("network", "create", "other")
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", *HTTPD)
    lab.hawse("network", "connect", "other", "web")
    assert taken(lab, "0.0.0.0", 8080)
    lab.hawse("network", "disconnect", "other", "web")
    assert taken(lab, "0.0.0.0", 8080)
    lab.hawse("rm", "-f", "web")
    lab.hawse("network", "rm", "other")


def test_a_new_daemon_holds_them_again(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", *HTTPD)
    lab.daemon.kill9()
    lab.daemon.start()
    assert taken(lab, "0.0.0.0", 8080)
    assert lab.hawse("audit").code == 0
    lab.hawse("rm", "-f", "web")


def test_a_port_that_was_taken_meanwhile_is_told(lab: Lab) -> None:
    """The container goes on; who has the port is named until it is given back."""
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "-p", "8081:80", *HTTPD)
    lab.daemon.kill9()
    with server(lab, 8080):
        lab.daemon.start()
        (told,) = events(lab, "network.port_taken")
        assert told["port"]["host_port"] == 8080 and told["by"].startswith("process sleep "), told
        audit = lab.hawse("audit", check=False)
        assert audit.code == 1 and f"0.0.0.0:8080/tcp is taken by {told['by']}" in audit.out, audit.out
        assert "port_taken" in lab.daemon.log and taken(lab, "0.0.0.0", 8081)
        assert lab.client.get(HOST, 8080, "/index.html") == PAGE
    lab.hawse("audit", "--repair")
    assert taken(lab, "0.0.0.0", 8080) and lab.hawse("audit").code == 0
    assert len(events(lab, "network.port_taken")) == 1
    lab.hawse("rm", "-f", "web")


def test_more_ports_than_descriptors(lab: Lab) -> None:
    """What cannot be held is refused, and the daemon has descriptors left for its clients."""
    lab.daemon.restart()
    try:
        resource.prlimit(lab.daemon.pid, resource.RLIMIT_NOFILE, (200, 200))
        error = lab.hawse("run", "--rm", "-p", "9000-9199:9000-9199", "busybox", "true", check=False).err
        assert "150 ports are published, more cannot be held" in error and "LimitNOFILE" in error, error
        lab.hawse("run", "--rm", "-p", "9000:80", "busybox", "true")
    finally:
        lab.daemon.restart()
