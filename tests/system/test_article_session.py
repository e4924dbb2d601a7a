"""The session of the article that this project grew out of (docs/design.md), typed as it is there, and the world after it."""

from __future__ import annotations

import re

from hawse.cli.selftest.lab import CLIENT, HOST, Lab
from hawse.cli.selftest.snapshot import links, routes, ruleset
from hawse.cli.selftest.waiting import eventually


def test_the_session_as_typed(lab: Lab) -> None:
    before = links(lab.world), routes(lab.world), ruleset(lab.world)

    lab.hawse("network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")
    assert "testbr bridge" in "\n".join(links(lab.world)), "the bridge is named after its network"
    assert "10.10.10.1/24" in lab.run(["ip", "addr", "show", "dev", "testbr"]).out, "the host part is the gateway"

    listed = lab.hawse("network", "list").out
    assert re.search(r"^\w{12}\s+testbr\s+bridge\b", listed, re.MULTILINE), listed
    assert {"bridge", "host", "none"} <= set(listed.split())

    with lab.pty(["hawse", "run", "-it", "--net", "testbr", "busybox", "sh"]) as terminal:
        terminal.expect("/ # ")
        terminal.type("ip addr show dev eth0\n")
        terminal.expect("10.10.10.")
        terminal.type(
            "ping -c 1 -W 30 10.10.10.1\n" if "ping" in lab.run(["busybox", "--list"]).out.split() else "true\n"
        )
        terminal.expect("/ # ")
        terminal.type("exit\n")
        assert terminal.wait() == 0

    identifier = lab.hawse("run", "-d", "-p", "8080:80", "--net", "testbr", "busybox", "top").out.strip()
    assert re.fullmatch(r"[0-9a-f]{64}", identifier)
    shown = lab.hawse("ps").out
    header, row = shown.splitlines()
    assert re.split(r"\s{2,}", header.strip()) == [
        *("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "IP", "PORTS", "NAMES")
    ]
    assert row.startswith(identifier[:12])
    assert lab.address(identifier, "testbr") in row
    assert lab.address(identifier, "testbr").startswith("10.10.10.")
    assert "8080->80/tcp" in row

    interactive, *_ = (line.split()[0] for line in lab.hawse("ps", "-a").out.splitlines()[1:] if "Exited" in line)
    lab.hawse("rm", interactive)
    assert lab.hawse("rm", identifier[:12], "-f").out.strip() == identifier[:12]
    assert lab.hawse("network", "remove", "testbr").out.strip() == "testbr"

    eventually(lambda: (links(lab.world), routes(lab.world), ruleset(lab.world)) == before)


def test_a_published_port_in_the_articles_network_answers(lab: Lab) -> None:
    lab.hawse("network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")
    lab.hawse(
        *("run", "-d", "--name", "web", "-p", "8080:80", "--net", "testbr", "busybox"),
        *("httpd", "-f", "-p", "80", "-h", "/www"),
    )
    page = eventually(lambda: lab.client.get(HOST, 8080, "/index.html"))
    assert page == b"hello from busybox\n"
    assert not lab.host.reaches(CLIENT, 8080)
    lab.hawse("rm", "web", "-f")
    eventually(lambda: not lab.client.reaches(HOST, 8080, timeout=0.3))
    lab.hawse("network", "rm", "testbr")
