"""Verbs against a daemon that answers what the test says: what they ask for, what they print, how they end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.ps import ports
from hawse.cli.stats import row as stats_row
from hawse.supervisor.api import wire
from tests.unit.cli_daemon import CliDaemon, Request


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


@pytest.mark.parametrize(
    ("argv", "request_", "query"),
    [
        (["stop", "web"], "POST /containers/web/stop", {}),
        (["stop", "-t", "3", "-s", "INT", "web"], "POST /containers/web/stop", {"t": "3", "signal": "INT"}),
        (["stop", "--time=0", "web"], "POST /containers/web/stop", {"t": "0"}),
        (["restart", "web"], "POST /containers/web/restart", {}),
        (["kill", "web"], "POST /containers/web/kill", {"signal": "KILL"}),
        (["kill", "-s", "HUP", "web"], "POST /containers/web/kill", {"signal": "HUP"}),
        (["pause", "web"], "POST /containers/web/pause", {}),
        (["unpause", "web"], "POST /containers/web/unpause", {}),
        (["start", "web"], "POST /containers/web/start", {}),
        (["rm", "web"], "DELETE /containers/web", {}),
        (["rm", "web", "-f", "-v"], "DELETE /containers/web", {"force": "1", "v": "1"}),
        (["container", "rm", "-f", "web"], "DELETE /containers/web", {"force": "1"}),
        (["network", "rm", "web"], "DELETE /networks/web", {}),
        (["volume", "rm", "web"], "DELETE /volumes/web", {}),
    ],
)
def test_a_verb_with_names_prints_them(
    daemon: CliDaemon, argv: list[str], request_: str, query: dict[str, str]
) -> None:
    daemon.routes[request_] = None
    said = daemon.run(*argv)
    assert (said.code, said.out, said.err) == (0, "web\n", "")
    assert daemon.seen[0].query == query


def test_errors_are_told_and_the_others_go_on(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "DELETE /containers/(a|c)": None,
        "DELETE /containers/b": lambda r: r.answer({"message": "No such container: b"}, 404),
    }
    said = daemon.run("rm", "a", "b", "c")
    assert (said.code, said.out) == (1, "a\nc\n")
    assert said.err == "hawse: Error response from daemon: No such container: b\n"
    assert daemon.run("rm", "-f", "a", "b", "c").code == 0, "with force, gone is as good as removed"


def test_wait_prints_exit_codes(daemon: CliDaemon) -> None:
    daemon.routes["POST /containers/.*/wait"] = {"StatusCode": 7}
    assert daemon.run("wait", "a", "b").out == "7\n7\n"
    assert daemon.seen[0].query == {"condition": "not-running"}


def test_rename(daemon: CliDaemon) -> None:
    daemon.routes["POST /containers/old/rename"] = None
    assert daemon.run("rename", "old", "new").out == ""
    assert daemon.seen[0].query == {"name": "new"}


def test_logs_keep_bytes_and_streams(daemon: CliDaemon) -> None:
    def logs(request: Request) -> None:
        request.begin(Content_Type=wire.MULTIPLEXED_STREAM)
        whole = wire.frame(1, b"out\xff\n") + wire.frame(2, b"err\n")
        for at in range(len(whole)):
            request.chunk(whole[at : at + 1])
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes["GET /containers/web/logs"] = logs
    said = daemon.run("logs", "--tail", "5", "-t", "--since", "1700000000", "web")
    assert (said.raw, said.err) == (b"out\xff\n", "err\n")
    assert daemon.seen[0].query == {
        "stdout": "1",
        "stderr": "1",
        "tail": "5",
        "timestamps": "1",
        "since": "1700000000",
    }


def test_logs_of_a_terminal_are_raw(daemon: CliDaemon) -> None:
    daemon.routes["GET /containers/web/logs"] = lambda r: r.answer(b"a\r\nb", Content_Type=wire.RAW_STREAM)
    assert daemon.run("logs", "web").raw == b"a\r\nb"


def test_inspect_looks_everywhere(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "GET /containers/web/json": {"Id": "1", "State": {"Pid": 7}},
        "GET /networks/net": {"Name": "net"},
        "GET /images/repo/x:1/json": {"Id": "i"},
        "GET /containers/.*": lambda r: r.answer({"message": f"No such container: {r.path.split('/')[2]}"}, 404),
    }
    said = daemon.run("inspect", "web", "net", "repo/x:1")
    assert json.loads(said.out) == [{"Id": "1", "State": {"Pid": 7}}, {"Name": "net"}, {"Id": "i"}]
    assert daemon.run("inspect", "-f", "{{.State.Pid}}", "web").out == "7\n"
    assert [daemon.run("inspect", "-f", text, "web").code for text in ("{{.Id", "{{.Nope}}")] == [64, 1]
    missing = daemon.run("inspect", "web", "nope")
    assert (missing.code, json.loads(missing.out)[0]["Id"]) == (1, "1")
    assert "No such object: nope" in missing.err
    assert daemon.run("network", "inspect", "net").code == 0
    assert "No such container: net" in daemon.run("inspect", "--type", "container", "net").err


EVENT = {
    "Type": "container",
    "Action": "start",
    "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "busybox"}},
    "time": 1700000000,
    "timeNano": 1700000000123456789,
    "status": "start",
    "id": "abc",
}


def test_events(daemon: CliDaemon) -> None:
    def stream(request: Request) -> None:
        request.begin()
        request.chunk(json.dumps(EVENT).encode() + b"\n")
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes["GET /events"] = stream
    env = {"TZ": "UTC"}
    assert daemon.run("events", "--format", "docker", env=env).out == (
        "2023-11-14T22:13:20.123456789Z container start abc (image=busybox, name=web)\n"
    )
    assert json.loads(daemon.run("events", "--format", "docker-json").out) == EVENT
    shown = daemon.run("events", "--format", "{{.Type}} {{.Status}} {{.Actor.Attributes.name}}").out
    assert shown == "container start web\n"
    daemon.run("system", "events", "--format", "docker", "--filter", "type=container", "--since", "5", "--until", "6")
    assert daemon.seen[-1].query == {"since": "5", "until": "6", "filters": '{"type": ["container"]}'}


def test_network_create_sends_what_was_typed(daemon: CliDaemon) -> None:
    daemon.routes["POST /networks/create"] = {"Id": "n1"}
    said = daemon.run("network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")
    assert (said.code, said.out) == (0, "n1\n")
    body = daemon.seen[0].json
    assert (body["Name"], body["Driver"], body["IPAM"]["Config"]) == ("testbr", "bridge", [{"Subnet": "10.10.10.1/24"}])


def test_network_list(daemon: CliDaemon) -> None:
    network = {"Id": "f" * 64, "Name": "testbr", "Driver": "bridge", "Scope": "local"}
    daemon.routes["GET /networks"] = [
        {**network, "IPAM": {"Config": [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]}},
        {"Id": "0" * 64, "Name": "host", "Driver": "host", "Scope": "local", "IPAM": {"Config": None}},
    ]
    for verb in ("list", "ls"):
        lines = daemon.run("network", verb).out.splitlines()
        assert lines[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE", "SUBNET"]
        assert [line.split() for line in lines[1:]] == [
            ["0" * 12, "host", "host", "local"],
            ["f" * 12, "testbr", "bridge", "local", "10.10.10.0/24"],
        ]


def test_network_connect_and_disconnect(daemon: CliDaemon) -> None:
    daemon.routes["POST /networks/net/.*"] = None
    daemon.run("network", "connect", "--ip", "10.0.0.5", "--alias", "db", "net", "web")
    daemon.run("network", "disconnect", "-f", "net", "web")
    assert [r.json for r in daemon.seen] == [
        {"Container": "web", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["db"]}},
        {"Container": "web", "Force": True},
    ]


def test_images(daemon: CliDaemon) -> None:
    image = {"Id": f"sha256:{'ab' * 32}", "Created": int(time.time()) - 3600 * 5, "Size": 4_261_000, "Containers": -1}
    daemon.routes["GET /images/json"] = [
        {**image, "RepoTags": ["tiny:2", "host:5000/tiny:latest"]},
        {**image, "RepoTags": None},
    ]
    for argv in (["images"], ["image", "ls"]):
        lines = daemon.run(*argv).out.splitlines()
        assert lines[1].split() == ["tiny", "2", "abababababab", "5", "hours", "ago", "4.26MB"]
        assert lines[2].split()[:2] == ["host:5000/tiny", "latest"]
        assert lines[3].split()[:2] == ["<none>", "<none>"]
    assert daemon.run("images", "--digests").out.splitlines()[1].split()[:4] == ["tiny", "2", "<none>", "abababababab"]


def test_rmi_and_tag(daemon: CliDaemon) -> None:
    daemon.routes["DELETE /images/repo/x:1"] = [{"Untagged": "repo/x:1"}, {"Deleted": "sha256:1"}]
    daemon.routes["POST /images/a/tag"] = None
    assert daemon.run("rmi", "repo/x:1").out == "Untagged: repo/x:1\nDeleted: sha256:1\n"
    assert daemon.run("tag", "a", "host:5000/b:c").code == 0
    assert daemon.seen[-1].query == {"repo": "host:5000/b", "tag": "c"}


def test_import_streams_the_archive(daemon: CliDaemon, tmp_path: Path) -> None:
    daemon.routes["POST /images/create"] = lambda r: r.answer(b'{"status":"sha256:1"}\n')
    (tmp_path / "x.tar").write_bytes(b"archive" * 100_000)
    assert daemon.run("import", "-c", 'CMD ["top"]', str(tmp_path / "x.tar"), "tiny:2").out == "sha256:1\n"
    assert daemon.run("image", "import", "-", "piped", input=b"data").code == 0
    first, second = daemon.seen
    assert first.body == b"archive" * 100_000 and second.body == b"data"
    assert first.query == {"fromSrc": "-", "repo": "tiny", "tag": "2", "changes": 'CMD ["top"]'}
    assert daemon.run("import", str(tmp_path / "nothing")).err.startswith(f"hawse: {tmp_path}/nothing: No such file")


def test_an_import_that_fails_after_its_head(daemon: CliDaemon) -> None:
    daemon.routes["POST /images/create"] = lambda r: r.answer(b'{"error":"not a tar","errorDetail":{}}\n')
    said = daemon.run("import", "-", "x", input=b"junk")
    assert (said.code, said.err) == (1, "hawse: not a tar\n")


def test_export_is_whole_or_not_there(daemon: CliDaemon, tmp_path: Path) -> None:
    daemon.routes["GET /containers/web/export"] = lambda r: r.answer(b"tar")
    assert daemon.run("export", "web").raw == b"tar"
    daemon.run("export", "-o", str(tmp_path / "out.tar"), "web")
    assert (tmp_path / "out.tar").read_bytes() == b"tar"

    def cut(request: Request) -> None:
        request.begin()
        request.chunk(b"half")
        request.sock.shutdown(2)

    daemon.routes["GET /containers/web/export"] = cut
    assert daemon.run("export", "-o", str(tmp_path / "cut.tar"), "web").code == 1
    assert not list(tmp_path.glob("cut*"))


def test_commit(daemon: CliDaemon) -> None:
    daemon.routes["POST /commit"] = lambda r: r.answer({"Id": "sha256:9"}, 201)
    assert daemon.run("commit", "-m", "why", "-p=false", "web", "edition:1").out == "sha256:9\n"
    assert daemon.seen[0].query == {
        "container": "web",
        "repo": "edition",
        "tag": "1",
        "comment": "why",
        "pause": "0",
    }


def test_top_port_and_diff(daemon: CliDaemon) -> None:
    places = {"443/tcp": None, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    daemon.routes |= {
        "GET /containers/web/top": {"Titles": ["PID", "CMD"], "Processes": [["1", "sh"]]},
        "GET /containers/web/json": {"NetworkSettings": {"Ports": places}},
        "GET /containers/web/changes": [{"Kind": 1, "Path": "/new"}, {"Kind": 2, "Path": "/old"}],
    }
    assert daemon.run("top", "web", "-o", "pid").out.split() == ["PID", "CMD", "1", "sh"]
    assert daemon.seen[0].query == {"ps_args": "-o pid"}
    assert daemon.run("port", "web").out == "80/tcp -> 0.0.0.0:8080\n"
    assert daemon.run("port", "web", "80").out == "0.0.0.0:8080\n"
    assert daemon.run("port", "web", "81").err == "hawse: no public port '81' published for web\n"
    assert daemon.run("diff", "web").out == "A /new\nD /old\n"


SAMPLE = {
    "id": "a" * 64,
    "name": "/web",
    "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
    "memory_stats": {"usage": 3 << 20, "limit": 16 << 20, "stats": {"inactive_file": 1 << 20}},
    "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 4096}, {"op": "write", "value": 1}]},
    "pids_stats": {"current": 3},
}


def test_stats(daemon: CliDaemon) -> None:
    shown = stats_row("web", SAMPLE, True)
    assert shown["CPUPerc"] == "40.00%"
    assert shown["MemUsage"] == "2MiB / 16MiB" and shown["MemPerc"] == "12.50%"
    assert shown["NetIO"] == "1kB / 2kB" and shown["BlockIO"] == "4.1kB / 1B" and shown["PIDs"] == "3"
    assert stats_row("gone", {}, True)["CPUPerc"] == "0.00%"
    daemon.routes["GET /containers/web/stats"] = SAMPLE
    out = daemon.run("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web").out
    assert out == "web 3\n"
    assert daemon.seen[0].query == {"stream": "0"}


def test_stats_follow_until_the_streams_end(daemon: CliDaemon) -> None:
    def stream(request: Request) -> None:
        request.begin()
        for _ in range(3):
            request.chunk(json.dumps(SAMPLE).encode() + b"\n")
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes["GET /containers/web/stats"] = stream
    assert set(daemon.run("stats", "--format", "{{.Name}}", "web").out.split()) == {"web"}


def test_update_sends_only_what_was_given(daemon: CliDaemon) -> None:
    daemon.routes["POST /containers/web/update"] = {"Warnings": ["careful"]}
    said = daemon.run("update", "-m", "64m", "--restart", "on-failure:2", "web")
    assert (said.out, said.err) == ("web\n", "WARNING: careful\n")
    assert daemon.seen[0].json == {
        "Memory": 64 << 20,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
    }
    assert daemon.run("update", "web").code == 1


def test_volumes(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "POST /volumes/create": {"Name": "v"},
        "GET /volumes": {"Volumes": [{"Name": "v", "Driver": "local", "Mountpoint": "/x", "Scope": "local"}]},
    }
    assert daemon.run("volume", "create", "--label", "a=b", "v").out == "v\n"
    assert daemon.seen[0].json["Labels"] == {"a": "b"}
    assert daemon.run("volume", "ls").out.splitlines()[1].split() == ["local", "v"]
    assert daemon.run("volume", "ls", "-q").out == "v\n"


def test_prune_asks_first(daemon: CliDaemon) -> None:
    daemon.routes["POST /containers/prune"] = {"ContainersDeleted": ["abc"], "SpaceReclaimed": 2048}
    no = daemon.run("container", "prune", input=b"n\n")
    assert (no.code, daemon.seen) == (1, [])
    yes = daemon.run("container", "prune", input=b"y\n")
    assert yes.out.endswith("Deleted Containers:\nabc\n\nTotal reclaimed space: 2.048kB\n")
    assert daemon.run("container", "prune", "--force").code == 0


def test_system_prune_and_df(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "POST /(containers|networks|images)/prune": {"SpaceReclaimed": 1000},
        "GET /system/df": {
            "Images": [{"Size": 4000, "Containers": 1}, {"Size": 1000, "Containers": 0}],
            "Containers": [{"State": "exited", "SizeRw": 10}],
            "Volumes": None,
        },
    }
    for force in ("--force", "-f"):
        assert "Total reclaimed space: 3kB" in daemon.run("system", "prune", force).out
    lines = [line.split() for line in daemon.run("system", "df").out.splitlines()]
    assert lines[1] == ["Images", "2", "1", "5kB", "1kB", "(20%)"]
    assert lines[2] == ["Containers", "1", "0", "10B", "10B", "(100%)"]
    image = {"Id": "sha256:" + "a" * 64, "RepoTags": ["busybox:1"], "Created": 0, "Size": 4000, "Containers": 1}
    box = {
        "Id": "b" * 64,
        "Image": "busybox",
        "Command": "sleep 1000",
        "Mounts": [{"Type": "volume"}, {"Type": "bind"}],
        "SizeRw": 10,
        "Created": 0,
        "Status": "Up 2 hours",
        "Names": ["/box"],
    }
    volume = {"Name": "data", "UsageData": {"Size": 2000, "RefCount": 1}}
    daemon.routes["GET /system/df"] = {"Images": [image], "Containers": [box], "Volumes": [volume]}
    shown = [line.split() for line in daemon.run("system", "df", "-v").out.splitlines()]
    (image_line,) = (line for line in shown if line[:1] == ["busybox"])
    assert image_line[:3] == ["busybox", "1", "a" * 12] and image_line[-2:] == ["4kB", "1"]
    (box_line,) = (line for line in shown if line[:1] == ["b" * 12])
    assert box_line[1:6] == ["busybox", '"sleep', '1000"', "1", "10B"] and box_line[-4:] == ["Up", "2", "hours", "box"]
    assert ["data", "1", "2kB"] in shown


def test_version_and_info(daemon: CliDaemon) -> None:
    server = {"Version": "9", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "KernelVersion": "6", "Os": "linux"}
    native = {
        **dict.fromkeys(("version", "api_version", "kernel", "python", "root", "run_dir", "instance"), "x"),
        "cursor": "e-5",
        "oldest_cursor": "e-0",
        "counts": {"containers": 2},
        "features": [{"name": "overlay", "found": False, "costs": "nothing starts", "detail": ""}],
    }
    daemon.routes |= {
        "GET /version": {**server, "Arch": "amd64"},
        "GET /info": {"NCPU": 2},
        f"GET {wire.NATIVE}/info": native,
    }
    assert "Server:\n Version: 9\n" in daemon.run("version").out
    assert daemon.run("version", "--format", "{{.Server.Version}} {{.Client.ApiVersion}}").out == "9 1.47\n"
    out = daemon.run("info").out
    assert " Containers: 2\n" in out and " overlay: no: nothing starts\n" in out
    assert daemon.run("info", "-f", "{{.NCPU}} {{.Hawse.cursor}}").out == "2 e-5\n"


def test_create_sends_the_whole_container(daemon: CliDaemon, tmp_path: Path) -> None:
    daemon.routes["POST /containers/create"] = {"Id": "abc", "Warnings": ["no swap"]}
    (tmp_path / "env").write_text("# comment\n\nFROM_FILE=1\nPASSED\n")
    said = daemon.run(
        *(
            "create",
            "--name",
            "web",
            "-e",
            "A=b c",
            "-e",
            "PASSED",
            "-e",
            "ABSENT",
            "--env-file",
            str(tmp_path / "env"),
        ),
        *("-p", "8080:80", "-v", "/a:/b:ro", "-v", "/anon", "--tmpfs", "/t:size=1m", "-m", "64m", "--cpus", "1.5"),
        *("--net", "testbr", "--ip", "10.10.10.9", "--network-alias", "w", "-l", "x=y", "--cap-add", "NET_ADMIN"),
        *("--userns", "host", "--restart", "always", "--health-cmd", "true", "--health-interval", "5s"),
        *("--ulimit", "nofile=5", "--entrypoint", "", "--stop-timeout", "3", "--cidfile", str(tmp_path / "cid")),
        *("busybox", "sh", "-c", "echo --name"),
        env={"PASSED": "yes"},
    )
    assert (said.code, said.out, said.err) == (0, "abc\n", "WARNING: no swap\n")
    assert (tmp_path / "cid").read_text() == "abc"
    (request,) = daemon.seen
    body = request.json
    host = body.pop("HostConfig")
    assert request.query == {"name": "web"}
    assert (body["Image"], body["Cmd"], body["Entrypoint"]) == ("busybox", ["sh", "-c", "echo --name"], [""])
    assert body["Env"] == ["FROM_FILE=1", "PASSED=yes", "A=b c", "PASSED=yes"]
    assert body["ExposedPorts"] == {"80/tcp": {}} and body["Volumes"] == {"/anon": {}}
    assert body["Labels"] == {"x": "y"} and body["StopTimeout"] == 3
    assert body["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9}
    assert body["NetworkingConfig"]["EndpointsConfig"] == {
        "testbr": {"IPAMConfig": {"IPv4Address": "10.10.10.9"}, "Aliases": ["w"]}
    }
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert (host["Binds"], host["Tmpfs"], host["Memory"]) == (["/a:/b:ro"], {"/t": "size=1m"}, 64 << 20)
    assert (host["NanoCpus"], host["NetworkMode"], host["UsernsMode"]) == (1_500_000_000, "testbr", "host")
    assert host["RestartPolicy"]["Name"] == "always" and host["Ulimits"][0]["Soft"] == 5
    assert daemon.run("create", "--cidfile", str(tmp_path / "cid"), "busybox").code == 125


def test_the_body_is_what_the_api_accepts(daemon: CliDaemon) -> None:
    from hawse.supervisor.api.body import parse
    from hawse.supervisor.api.decode import container_config

    daemon.routes["POST /containers/create"] = {"Id": "abc"}
    daemon.run("create", "-it", "--rootfs", "/srv/../srv", "-p", "80-81:80-81", "--mount", "type=tmpfs,dst=/t", "sh")
    config = container_config(parse(daemon.seen[0].body)).config
    assert (config.rootfs, config.cmd, config.tty, config.stdin_once) == ("/srv", ("sh",), True, True)
    assert [b.host_port for b in config.ports] == [80, 81]
    assert config.mounts[0].target == "/t" and config.network_mode == "bridge"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["run"], 125, "'hawse run' requires at least 1 argument"),
        (["exec", "web"], 125, "'hawse exec' requires at least 2 arguments"),
        (["rm"], 1, "'hawse rm' requires at least 1 argument"),
        (["ps", "x"], 1, "'hawse ps' accepts no arguments"),
        (["run", "--no-such-flag", "x"], 125, "unknown flag: --no-such-flag"),
        (["run", "-m", "lots", "x"], 125, "invalid size: 'lots'"),
        (["run", "-p", "70000:80", "x"], 125, "invalid hostPort: 70000"),
        (["run", "-v", "/a:/b:c:d", "x"], 125, "too many colons"),
        (["run", "--rm", "--restart", "always", "x"], 125, "cannot specify both --restart and --rm"),
        (["run", "-d", "-a", "stdout", "x"], 125, "cannot specify both --attach and --detach"),
        (["run", "--network", "none", "--ip", "1.2.3.4", "x"], 125, "1.2.3.4|conflicting options"),
        (["pss"], 1, "'pss' is not a hawse command.\nDid you mean ps?\nSee 'hawse --help'"),
        (["network", "creat"], 1, "'network creat' is not a hawse command.\nDid you mean create?"),
        (["--foo"], 125, "unknown flag: --foo"),
        (["--host"], 125, "flag needs an argument: --host"),
        (["--host", "tcp://1.2.3.4:5", "ps"], 1, "unix sockets only"),
        (["cp", "a", "b"], 1, "must specify at least one container source"),
        (["cp", "a:/x", "b:/x"], 1, "copying between containers is not supported"),
    ],
)
def test_usage_errors(daemon: CliDaemon, argv: list[str], code: int, said: str) -> None:
    shown = daemon.run(*argv)
    assert shown.code == code
    assert shown.err.startswith("hawse: ") and any(text in shown.err for text in said.split("|"))
    assert (shown.out, daemon.seen) == ("", [])


def test_help_and_version_need_no_daemon(daemon: CliDaemon) -> None:
    assert "Management Commands:" in daemon.run().out
    assert daemon.run("help", "ps").out == daemon.run("ps", "--help").out
    assert "Commands:" in daemon.run("network").out
    assert daemon.run("--version").out == f"hawse version {wire.VERSION}\n"
    assert not daemon.seen


def test_no_daemon(tmp_path: Path) -> None:
    daemon = CliDaemon(tmp_path)
    daemon.close()
    said = daemon.run("ps")
    assert (said.code, said.out) == (1, "")
    assert f"no hawse daemon answers on unix://{daemon.path}" in said.err
    assert daemon.run("run", "x").code == 125
    version = daemon.run("version")
    assert version.code == 1 and "Client:" in version.out


def test_a_reader_that_goes_away_is_no_error(daemon: CliDaemon) -> None:
    import subprocess

    daemon.routes["GET /containers/json"] = [listed(n) for n in range(3000)]
    process = daemon.popen("ps", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_many_dead_letters_do_not_fill_the_line(daemon: CliDaemon) -> None:
    hook = {"Name": "a.toml", "Events": ["x"], "Mode": "durable", "State": "ready", "Lag": 0, "Last": None}
    daemon.routes["GET /hawse/v1/hooks"] = [{**hook, "Dead": [7]}, {**hook, "Dead": list(range(40))}]
    _, one, many = daemon.run("hook", "ls").out.splitlines()
    assert " 7 " in f"{one} " and "more" not in one
    assert "0,1,2,3,4 and 35 more" in many
