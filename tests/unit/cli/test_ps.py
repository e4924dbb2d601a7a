"""ps against a daemon that answers what the test says: what it asks for, what it shows, how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.verbs.ps import ports
from tests.unit.cli.daemon import CliDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    yield made
    made.close()


def listed(n: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "Id": f"{n:064x}"[::-1],
        "Names": [f"/c{n}"],
        "Image": "busybox",
        "Command": "sh -c 'echo hello world'",
        "Created": int(time.time()) - 125,
        "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
        "Labels": {"a": "b"},
        "State": "running",
        "Status": "Up 2 minutes",
        "NetworkSettings": {"Networks": {"testbr": {"IPAddress": "10.10.10.2"}}},
        "Mounts": [],
        **changes,
    }


def test_ps_shows_address_and_ports(daemon: CliDaemon) -> None:
    daemon.routes["GET /containers/json"] = [listed()]
    head, line = daemon.run("ps").out.splitlines()
    assert head.split("  ")[0] == "CONTAINER ID"
    assert [head.index(h) for h in ("IMAGE", "COMMAND", "CREATED", "STATUS", "IP", "PORTS", "NAMES")] == [
        line.index(v)
        for v in ("busybox", '"sh -c', "2 minutes ago", "Up 2 minutes", "10.10.10.2", "0.0.0.0:8080->80/tcp", "c1")
    ], "aligned"
    assert '"sh -c \'echo hello w…"' in line


def test_ps_asks_for_what_was_asked(daemon: CliDaemon) -> None:
    daemon.routes["GET /containers/json"] = []
    daemon.run("ps", "-a", "--filter", "status=exited", "-f", "label=x=y", "-f", "label=z")
    daemon.run("ps", "-l")
    daemon.run("ps", "-n", "3", "-s")
    daemon.run("ps")
    asked = [r.query for r in daemon.seen]
    assert json.loads(asked[0].pop("filters")) == {"status": ["exited"], "label": ["x=y", "z"]}
    assert asked == [{"all": "1"}, {"all": "1", "limit": "1"}, {"all": "1", "limit": "3", "size": "1"}, {}]


def test_ps_quiet_and_formats(daemon: CliDaemon) -> None:
    daemon.routes["GET /containers/json"] = [listed(1), listed(2)]
    assert daemon.run("ps", "-q").out.split() == ["100000000000", "200000000000"]
    assert daemon.run("ps", "-q", "--format", "{{.Names}}").out.split() == ["100000000000", "200000000000"]
    assert daemon.run("ps", "-q", "--no-trunc").out.split() == [listed(1)["Id"], listed(2)["Id"]]
    assert daemon.run("ps", "--format", '{{.Names}} {{.IP}} {{.Label "a"}}').out == "c1 10.10.10.2 b\nc2 10.10.10.2 b\n"
    table = daemon.run("ps", "--format", "table {{.Names}}\\t{{.Status}}").out.splitlines()
    assert table == ["NAMES     STATUS", "c1        Up 2 minutes", "c2        Up 2 minutes"]
    (first, _) = map(json.loads, daemon.run("ps", "--format", "json").out.splitlines())
    assert (first["Names"], first["Ports"]) == ("c1", "0.0.0.0:8080->80/tcp")


def test_ps_never_writes_escapes_into_a_pipe(daemon: CliDaemon) -> None:
    daemon.routes["GET /containers/json"] = [listed()]
    assert "\033" not in daemon.run("ps").out


def port(private: int, public: int = 0, ip: str = "0.0.0.0", proto: str = "tcp") -> dict[str, Any]:
    return {"PrivatePort": private, "Type": proto, **({"IP": ip, "PublicPort": public} if public else {})}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80, 8080), port(443)], "443/tcp, 0.0.0.0:8080->80/tcp"),
        ([port(80, 8080, "::")], "[::]:8080->80/tcp"),
        ([port(82, 82), port(80, 80), port(81, 81)], "0.0.0.0:80-82->80-82/tcp"),
        ([port(80, 8080), port(81, 8081)], "0.0.0.0:8080->80/tcp, 0.0.0.0:8081->81/tcp"),
        ([port(80), port(81)], "80-81/tcp"),
        ([port(53, 53), port(53, 53, proto="udp")], "0.0.0.0:53->53/tcp, 0.0.0.0:53->53/udp"),
    ],
)
def test_ports_are_shown_as_docker_shows_them(given: list[dict[str, Any]], shown: str) -> None:
    assert ports(given) == shown


def test_a_reader_that_goes_away_is_no_error(daemon: CliDaemon) -> None:
    import subprocess

    daemon.routes["GET /containers/json"] = [listed(n) for n in range(3000)]
    process = daemon.popen("ps", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141
