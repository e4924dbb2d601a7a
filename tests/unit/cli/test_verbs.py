"""Verbs for containers against a daemon that answers what the test says: what they ask for, what they print, how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.verbs.stats import row as stats_row
from hawse.supervisor.api import wire
from tests.unit.cli.daemon import CliDaemon, Request


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    yield made
    made.close()


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
    assert body["Env"] == ["FROM_FILE=1", "PASSED=yes", "A=b c", "PASSED=yes", "ABSENT"]
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
    from hawse.supervisor.docker.body import parse
    from hawse.supervisor.docker.decode import container_config

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
