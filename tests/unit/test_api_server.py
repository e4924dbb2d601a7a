"""The API on a real socket, driven by docker-py and by raw bytes, in front of an engine without a kernel."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import docker
import docker.errors
import pytest
from docker.models.containers import Container as DockerContainer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse.supervisor.api import server, wire
from hawse.supervisor.api.document import document
from hawse.supervisor.api.router import Router
from hawse.supervisor.api.routes import ROUTES
from hawse.supervisor.api.server import make_app, serve
from hawse.supervisor.config import Config
from hawse.supervisor.errors import NotFound, Unavailable, UserError
from hawse.supervisor.model import State
from hawse.supervisor.runtime.logwriter import LogWriter
from hawse.supervisor.store.store import Store
from tests.unit.api_client import Api, head, next_line
from tests.unit.fake_engine import FakeEngine


def half_closed(stream: Any, said: bytes) -> bytes:
    """Say something on docker-py's hijacked socket, shut its writing side, and read to the end."""
    sock: socket.socket = stream._sock
    sock.sendall(said)
    sock.shutdown(socket.SHUT_WR)
    heard = b""
    while data := sock.recv(4096):
        heard += data
    stream._response.close()
    stream.close()
    sock.close()
    return heard


async def eventually(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await asyncio.sleep(0.005)


# ---- the frame around every request


async def test_ping_tells_the_version(api: Api) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = await api.request(method, "/_ping")
        assert (status, headers["api-version"], headers["ostype"]) == (200, wire.API_VERSION, "linux")
        assert body == (b"OK" if method == "GET" else b"")


async def test_the_socket_is_for_root_and_the_group_only(api: Api) -> None:
    assert api.path.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1.48/info", "client version 1.48 is too new. Maximum supported API version is 1.47"),
        ("/v1.12/info", "client version 1.12 is too old. Minimum supported API version is 1.24"),
    ],
)
async def test_versions_that_nobody_speaks(api: Api, path: str, message: str) -> None:
    status, answer = await api.json("GET", path)
    assert status == 400 and message in answer["message"]


async def test_the_version_prefix_is_optional(api: Api) -> None:
    for prefix in ("", "/v1.24", "/v1.47"):
        assert (await api.request("GET", f"{prefix}/containers/json"))[0] == 200


async def test_what_is_not_there_is_404_and_what_hawse_lacks_is_501(api: Api) -> None:
    status, answer = await api.json("GET", "/nowhere")
    assert (status, answer["message"].split(" (")[0]) == (404, "page not found")
    status, answer = await api.json("POST", "/v1.47/build?t=x")
    assert status == 501 and "does not build" in answer["message"]
    status, answer = await api.json("GET", "/v1.47/swarm")
    assert status == 501 and "swarm" in answer["message"]


async def test_an_unexpected_error_is_a_500_that_names_the_request(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(ref: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(api.engine, "pause", broken)
    status, headers, body = await api.request("POST", "/containers/x/pause")
    message = json.loads(body)["message"]
    assert status == 500 and headers["x-hawse-request-id"] in message and "secret" not in message
    assert "secret detail" in capsys.readouterr().out


async def test_two_daemons_do_not_share_a_socket(api: Api, tmp_path: Path) -> None:
    config = Config(root=tmp_path, run_dir=tmp_path)
    with pytest.raises(Unavailable, match="another daemon answers"):
        async with serve(make_app(api.engine, config), config):  # type: ignore[arg-type]
            pass
    assert (await api.request("GET", "/_ping"))[0] == 200


async def test_a_socket_that_a_crash_left_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "db") as store:
        config = Config(root=tmp_path, run_dir=tmp_path)
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(config.socket_path))
        left.close()
        engine = FakeEngine(store, tmp_path)
        async with serve(make_app(engine, config), config):  # type: ignore[arg-type]
            assert (await Api(engine, config.socket_path).request("GET", "/_ping"))[0] == 200
        assert not config.socket_path.exists()
        config.socket_path.write_text("precious")
        with pytest.raises(Unavailable, match="not a socket"):
            async with serve(make_app(engine, config), config):  # type: ignore[arg-type]
                pass
        assert config.socket_path.read_text() == "precious"


async def test_an_unknown_group_is_refused_at_the_start(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "db") as store:
        with pytest.raises(UserError, match="no-such-group"):
            make_app(FakeEngine(store, tmp_path), Config(group="no-such-group"))  # type: ignore[arg-type]


def test_every_route_is_found_by_its_own_path() -> None:
    router = Router()
    for route in ROUTES:
        path = route.path.replace("{ref}", "abc").replace("{name}", "lib/x%3Av1")
        match = router.match(route.method, f"/v1.41{path}")
        assert match.route is route and match.version == (1, 41)
        assert set(match.params.values()) <= {"abc", "lib/x:v1"}
    with pytest.raises(NotFound):
        router.match("GET", "/containers/a/b/json")


def test_the_documentation_is_the_route_table() -> None:
    """Made anew with `python -m hawse.supervisor.api.document > docs/docker-api.md`."""
    page = Path(__file__).parents[2] / "docs" / "docker-api.md"
    assert page.read_text() == document()
    assert not [line for line in document().splitlines() if line.endswith("|  |")], "a handler without a description"


# ---- containers


async def test_docker_py_lives_through_a_container_s_life(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        made = client.containers.create("busybox", ["top"], name="web", labels={"a": "b"}, tty=True)
        assert made.status == "created" and made.name == "web"
        made.start()
        made.reload()
        assert made.status == "running" and made.labels == {"a": "b"}
        assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["web"]
        assert client.containers.list(filters={"label": "a=c"}) == []
        made.pause()
        made.unpause()
        made.rename("db")
        made.reload()
        assert made.name == "db"
        made.restart(timeout=1)
        with pytest.raises(docker.errors.APIError) as running:
            made.remove()
        assert running.value.status_code == 409
        made.stop(timeout=1)
        assert made.wait()["StatusCode"] == 143
        assert client.containers.list() == [] and len(client.containers.list(all=True)) == 1
        made.remove()
        with pytest.raises(docker.errors.NotFound) as gone:
            client.containers.get("db")
        assert "No such container: db" in str(gone.value)

    await api.docker(use)


async def test_starting_twice_and_stopping_twice_is_304(api: Api) -> None:
    ref = await api.created()
    assert (await api.request("POST", f"/containers/{ref}/start"))[0] == 304
    assert (await api.request("POST", f"/containers/{ref}/stop"))[0] == 204
    assert (await api.request("POST", f"/containers/{ref}/stop"))[0] == 304


async def test_an_unknown_image_is_404_in_docker_s_words(api: Api) -> None:
    status, answer = await api.json("POST", "/containers/create", {"Image": "nginx"})
    assert status == 404 and answer["message"].startswith("No such image: nginx:latest")


async def test_a_program_that_is_not_found_is_a_400_with_the_reason(api: Api) -> None:
    ref = await api.created(start=False, Cmd=["nope"])
    status, answer = await api.json("POST", f"/containers/{ref}/start")
    assert status == 400 and "executable file not found in $PATH" in answer["message"]


async def test_create_answers_warnings_and_the_name_clash(api: Api) -> None:
    body = {"Image": "busybox", "Cmd": ["x"], "HostConfig": {"BlkioWeight": 5}}
    status, answer = await api.json("POST", "/containers/create?name=a", body)
    assert status == 201 and "BlkioWeight" in answer["Warnings"][0]
    status, answer = await api.json("POST", "/containers/create?name=a", body)
    assert status == 409 and "already in use" in answer["message"]


async def test_the_list_is_filtered_bounded_and_newest_first(api: Api) -> None:
    refs = [await api.created(start=n != 1, Labels={"n": str(n)}) for n in range(3)]

    async def listed(query: str) -> list[str]:
        return [c["Id"] for c in (await api.json("GET", f"/containers/json?{query}"))[1]]

    assert await listed("") == [refs[2], refs[0]]
    assert await listed("all=1") == refs[::-1]
    assert await listed("limit=2") == [refs[2], refs[1]]
    assert await listed('filters={"status":["created"]}') == [refs[1]]
    assert await listed(f'all=1&filters={{"before":["{refs[2]}"]}}') == [refs[1], refs[0]]
    assert await listed(f'all=1&filters={{"since":{{"{refs[1]}":true}}}}') == [refs[2]]
    assert await listed('all=1&filters={"label":["n=1"],"ancestor":["busybox"]}') == [refs[1]]
    status, answer = await api.json("GET", '/containers/json?filters={"frob":["x"]}')
    assert status == 400 and "frob" in answer["message"]


async def test_update_changes_only_what_is_given(api: Api) -> None:
    ref = await api.created(HostConfig={"Memory": 100 << 20, "PidsLimit": 7})

    def use(client: docker.DockerClient) -> None:
        client.containers.get(ref).update(cpu_shares=512, restart_policy={"Name": "always"})

    await api.docker(use)
    config = (await api.engine.container(ref)).config
    assert (config.resources.memory, config.resources.cpu_shares, config.resources.pids_limit) == (100 << 20, 512, 7)
    assert config.restart.name == "always"
    status, answer = await api.json("POST", f"/containers/{ref}/update", {"MemorySwap": 50 << 20})
    assert status == 400 and "memoryswap" in answer["message"].lower()
    await api.json("POST", f"/containers/{ref}/update", {"PidsLimit": -1})
    assert (await api.engine.container(ref)).config.resources.pids_limit is None


# ---- streams


async def test_wait_says_200_before_the_end_and_the_code_after_it(api: Api) -> None:
    ref = await api.created()
    reader, writer = await api.send("POST", f"/containers/{ref}/wait?condition=next-exit")
    status, _ = await head(reader)
    assert status == 200
    await api.engine.end(ref, 7)
    assert json.loads(await next_line(reader)) == {"StatusCode": 7}
    writer.close()


async def test_wait_refuses_a_condition_that_docker_does_not_know(api: Api) -> None:
    ref = await api.created()
    assert (await api.request("POST", f"/containers/{ref}/wait?condition=whenever"))[0] == 400


@pytest.mark.parametrize("tty", [True, False], ids=["tty", "frames"])
async def test_attach_by_docker_py_with_half_close(api: Api, tty: bool) -> None:
    ref = await api.created(OpenStdin=True, Tty=tty)

    def use(client: docker.DockerClient) -> bytes:
        return half_closed(client.api.attach_socket(ref, {"stdin": 1, "stdout": 1, "stream": 1}), b"hello")

    said = await api.docker(use)
    assert said == (b"hello" if tty else wire.frame(wire.STDOUT, b"hello"))
    (_, _, options) = api.engine.attached[0]
    assert (options.stdin, options.stdout, options.stderr, options.framed) == (True, True, False, not tty)


@pytest.mark.parametrize(
    ("version", "upgrade", "status", "content_type"),
    [
        ("1.47", True, 101, wire.MULTIPLEXED_STREAM),
        ("1.41", True, 101, wire.RAW_STREAM),
        ("1.47", False, 200, wire.RAW_STREAM),
    ],
)
async def test_the_head_of_a_hijack(api: Api, version: str, upgrade: bool, status: int, content_type: str) -> None:
    ref = await api.created()
    fields = {"Connection": "Upgrade", "Upgrade": "tcp"} if upgrade else {}
    reader, writer = await api.send("POST", f"/v{version}/containers/{ref}/attach?stream=1&stdout=1", headers=fields)
    got, headers = await head(reader)
    assert (got, headers["content-type"]) == (status, content_type)
    writer.write(b"x")
    writer.write_eof()
    assert await reader.read() == wire.frame(wire.STDOUT, b"x")
    writer.close()


async def test_what_came_with_the_attach_is_passed_on(api: Api) -> None:
    ref = await api.created(OpenStdin=True)
    reader, writer = await asyncio.open_unix_connection(str(api.path))
    writer.write(f"POST /containers/{ref}/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: d\r\n\r\nearly bird".encode())
    writer.write_eof()
    await head(reader)
    assert await reader.read() == wire.frame(wire.STDOUT, b"early bird")
    assert api.engine.attached[0][1] == b"early bird"
    writer.close()


async def test_attach_is_refused_as_http_while_it_can_be(api: Api) -> None:
    status, answer = await api.json("POST", "/containers/nobody/attach?stream=1")
    assert status == 404 and "No such container: nobody" in answer["message"]
    ref = await api.created()
    await api.engine.pause(ref)
    status, answer = await api.json("POST", f"/containers/{ref}/attach?stream=1")
    assert status == 409 and "paused" in answer["message"]


async def test_exec_by_docker_py(api: Api) -> None:
    ref = await api.created()

    def use(client: docker.DockerClient) -> None:
        container: DockerContainer = client.containers.get(ref)
        made = client.api.exec_create(ref, ["cat", "-"], stdin=True, environment={"A": "1"}, workdir="/tmp")
        assert half_closed(client.api.exec_start(made["Id"], socket=True), b"in") == wire.frame(wire.STDOUT, b"in")
        told = client.api.exec_inspect(made["Id"])
        assert (told["ExitCode"], told["Running"], told["ContainerID"]) == (0, False, ref)
        assert told["ProcessConfig"]["entrypoint"] == "cat" and told["ProcessConfig"]["arguments"] == ["-"]
        with pytest.raises(docker.errors.APIError) as unknown:
            client.api.exec_start("f" * 64)
        assert unknown.value.status_code == 404 and "No such exec instance" in str(unknown.value)
        assert container.name  # the connection goes on after a refused hijack

    await api.docker(use)


async def test_an_exec_that_fails_after_the_hijack_is_told_on_stderr(api: Api) -> None:
    ref = await api.created()
    _, made = await api.json("POST", f"/containers/{ref}/exec", {"Cmd": ["nope"], "AttachStdout": True})
    reader, writer = await api.send(
        "POST", f"/exec/{made['Id']}/start", {}, {"Connection": "Upgrade", "Upgrade": "tcp"}
    )
    assert (await head(reader))[0] == 101
    stream, length = struct.unpack(">BxxxL", await reader.readexactly(8))
    assert stream == wire.STDERR and b"executable file not found" in await reader.readexactly(length)
    assert await reader.read() == b""
    writer.close()
    assert (await api.json("GET", f"/exec/{made['Id']}/json"))[1]["ExitCode"] == 127


async def test_exec_without_a_command_and_in_a_stopped_container(api: Api) -> None:
    ref = await api.created(start=False)
    assert await api.json("POST", f"/containers/{ref}/exec", {}) == (
        400,
        {"message": "No exec command specified", "code": "invalid"},
    )
    status, answer = await api.json("POST", f"/containers/{ref}/exec", {"Cmd": ["ls"]})
    assert status == 409 and "is not running" in answer["message"]


async def test_a_detached_exec_answers_at_once(api: Api) -> None:
    ref = await api.created()
    _, made = await api.json("POST", f"/containers/{ref}/exec", {"Cmd": ["ls"]})
    assert (await api.request("POST", f"/exec/{made['Id']}/start", {"Detach": True}))[0] == 200
    status, answer = await api.json("POST", f"/exec/{made['Id']}/start", {"Detach": True})
    assert status == 409 and "has already run" in answer["message"]


async def test_resize(api: Api) -> None:
    ref = await api.created()
    assert (await api.request("POST", f"/containers/{ref}/resize?h=24&w=80"))[0] == 200
    assert api.engine.sizes == [(ref, 24, 80)]
    assert (await api.request("POST", f"/containers/{ref}/resize?h=24"))[0] == 400
    assert (await api.request("POST", f"/containers/{ref}/resize?h=24&w=70000"))[0] == 400


# ---- logs


def write_log(api: Api, ref: str, *pieces: tuple[str, bytes]) -> LogWriter:
    path = api.engine.parts.paths(ref).log
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = LogWriter(str(path), 1 << 20, 3)
    for stream, data in pieces:
        writer.write(stream, data)
    return writer


async def test_logs_by_docker_py(api: Api) -> None:
    ref = await api.created()
    write_log(api, ref, ("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\nno end")).close()

    def use(client: docker.DockerClient) -> None:
        container = client.containers.get(ref)
        assert container.logs() == b"one\ntwo\nthree\nno end"
        assert container.logs(stderr=False, tail=2) == b"three\nno end"
        assert container.logs(stdout=False) == b"two\n"
        stamped = container.logs(timestamps=True, stdout=False)
        assert stamped.endswith(b"Z two\n") and len(stamped) == len("2026-01-02T03:04:05.123456789Z two\n")
        assert container.logs(until=1) == b""

    await api.docker(use)
    assert (await api.request("GET", f"/containers/{ref}/logs"))[0] == 400


async def test_following_logs_ends_with_the_container_and_misses_nothing(api: Api) -> None:
    ref = await api.created(Tty=True)
    writer = write_log(api, ref, ("stdout", b"before\n"))
    reader, client = await api.send("GET", f"/containers/{ref}/logs?follow=1&stdout=1&stderr=1")
    assert (await head(reader))[0] == 200
    assert await next_line(reader) == b"before\n"
    writer.write("stdout", b"during\n")
    assert await next_line(reader) == b"during\n"
    writer.write("stdout", b"last words")
    writer.close()
    await api.engine.end(ref, 0)
    assert await next_line(reader) == b"last words"
    assert await reader.readexactly(5) == b"0\r\n\r\n"
    client.close()


# ---- events


async def test_docker_events_from_the_past_and_on(api: Api) -> None:
    ref = await api.created(Labels={"a": "b"})
    filters = json.dumps({"container": [ref], "event": ["start", "die"]}, separators=(",", ":"))
    reader, writer = await api.send("GET", f"/events?since=1&filters={filters}")
    assert (await head(reader))[0] == 200
    assert json.loads(await next_line(reader))["Action"] == "start"
    await api.engine.end(ref, 3)
    died = json.loads(await next_line(reader))
    assert (died["status"], died["Actor"]["Attributes"]["exitCode"], died["Actor"]["Attributes"]["a"]) == (
        "die",
        "3",
        "b",
    )
    writer.close()


async def test_events_until_now_end_by_themselves(api: Api) -> None:
    await api.created()
    _, _, body = await api.request("GET", "/events?since=1&until=0s")
    assert [json.loads(line)["Action"] for line in body.splitlines()] == ["create", "start"]
    assert (await api.request("GET", "/events?since=2000000000&until=1000000000"))[0] == 400


async def test_docker_py_reads_events(api: Api) -> None:
    await api.created()

    def use(client: docker.DockerClient) -> list[str]:
        return [e["Action"] for e in client.events(since=1, until=int(time.time()) + 1, decode=True)]

    assert await api.docker(use) == ["create", "start"]


async def test_native_events_resume_from_a_cursor(api: Api) -> None:
    await api.created()
    _, _, body = await api.request("GET", "/hawse/v1/events")
    first, second = map(json.loads, body.splitlines())
    assert (first["type"], second["type"], second["seq"]) == (
        "container.created",
        "container.started",
        first["seq"] + 1,
    )
    _, _, body = await api.request("GET", f"/hawse/v1/events?after={first['id']}")
    assert [json.loads(line)["id"] for line in body.splitlines()] == [second["id"]]
    _, _, body = await api.request("GET", "/hawse/v1/events?types=*.created")
    assert [json.loads(line)["id"] for line in body.splitlines()] == [first["id"]]


async def test_a_cursor_of_another_journal_is_gone_with_the_oldest_one(api: Api) -> None:
    status, answer = await api.json("GET", f"/hawse/v1/events?after={'0' * 32}-5")
    assert (status, answer["code"]) == (410, "gone")
    assert (await api.request("GET", f"/hawse/v1/events?after={answer['oldest']}"))[0] == 200
    assert (await api.request("GET", "/hawse/v1/events?after=yesterday"))[0] == 400


async def test_heartbeats_carry_a_cursor_to_go_on_from(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT", 0.01)
    await api.created()
    reader, writer = await api.send("GET", "/hawse/v1/events?follow=1&types=network.*")
    await head(reader)
    beat = json.loads(await next_line(reader))
    assert beat == {"type": "heartbeat", "cursor": api.engine.store.journal.cursor}
    writer.close()


async def test_server_sent_events(api: Api) -> None:
    await api.created()
    accept = {"Accept": "text/event-stream"}
    _, headers, body = await api.request("GET", "/hawse/v1/events", headers=accept)
    assert headers["content-type"] == "text/event-stream"
    fields = [dict(line.split(": ", 1) for line in event.split("\n")) for event in body.decode().strip().split("\n\n")]
    assert [f["event"] for f in fields] == ["container.created", "container.started"]
    assert json.loads(fields[0]["data"])["id"] == fields[0]["id"]
    _, _, body = await api.request("GET", "/hawse/v1/events", headers={**accept, "Last-Event-ID": fields[0]["id"]})
    assert body.startswith(f"id: {fields[1]['id']}\n".encode())


async def test_a_snapshot_and_the_events_after_it_leave_no_gap(api: Api) -> None:
    ref = await api.created()
    _, snapshot = await api.json("GET", "/hawse/v1/snapshot")
    assert [c["id"] for c in snapshot["containers"]] == [ref]
    await api.engine.end(ref, 0)
    _, _, body = await api.request("GET", f"/hawse/v1/events?after={snapshot['cursor']}")
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["container.exited"]


async def test_the_native_record_and_info(api: Api) -> None:
    ref = await api.created()
    _, record = await api.json("GET", f"/hawse/v1/containers/{ref}")
    assert record["container"]["state"] == "running" and record["container"]["stages"] == {"total": 1}
    _, info = await api.json("GET", "/hawse/v1/info")
    assert info["counts"]["running"] == 1
    assert {"name", "found", "costs"} <= set(info["features"][0])


@pytest.mark.parametrize(
    "path", ["/events", "/hawse/v1/events?follow=1", "/containers/{}/wait", "/containers/{}/logs?follow=1&stdout=1"]
)
async def test_a_client_that_vanishes_leaves_nothing(api: Api, path: str) -> None:
    ref = await api.created()
    write_log(api, ref).close()
    method = "POST" if "wait" in path else "GET"
    before = {t for t in asyncio.all_tasks() if not t.done()}
    fds = len(os.listdir("/proc/self/fd"))
    reader, writer = await api.send(method, path.format(ref))
    await head(reader)
    assert asyncio.all_tasks() != before
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: {t for t in asyncio.all_tasks() if not t.done()} <= before)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= fds)


async def test_the_server_ends_although_streams_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_GRACE", 1000)
    async with await Store.open(tmp_path / "db") as store:
        engine = FakeEngine(store, tmp_path)
        config = Config(root=tmp_path, run_dir=tmp_path)
        with anyio.fail_after(60):
            async with serve(make_app(engine, config), config):  # type: ignore[arg-type]
                reader, writer = await Api(engine, config.socket_path).send("GET", "/events")
                await head(reader)
        writer.close()


# ---- networks, system


async def test_networks_by_docker_py(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        pool = docker.types.IPAMPool(subnet="10.10.10.0/24", gateway="10.10.10.1")
        made = client.networks.create("testbr", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"x": "y"})
        assert [n.name for n in client.networks.list(names=["testbr"])] == ["testbr"]
        assert client.networks.list(filters={"label": "x=z"}) == []
        assert made.attrs["IPAM"]["Config"] == [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]
        assert {n.name for n in client.networks.list(filters={"type": "builtin"})} == {"host"}
        made.remove()
        with pytest.raises(docker.errors.NotFound, match="testbr"):
            client.networks.get("testbr")

    await api.docker(use)


async def test_connect_and_disconnect_by_docker_py(api: Api) -> None:
    ref = await api.created()
    await api.json("POST", "/networks/create", {"Name": "testbr"})

    def use(client: docker.DockerClient) -> None:
        network = client.networks.get("testbr")
        network.connect(ref, ipv4_address="10.9.0.7", aliases=["web"])
        joined = client.containers.get(ref).attrs["NetworkSettings"]["Networks"]["testbr"]
        assert joined["IPAMConfig"] == {"IPv4Address": "10.9.0.7"} and joined["Aliases"] == ["web"]
        with pytest.raises(docker.errors.APIError, match="already exists in network testbr"):
            network.connect(ref)
        network.disconnect(ref)
        with pytest.raises(docker.errors.APIError, match="is not connected"):
            network.disconnect(ref)
        network.disconnect(ref, force=True)
        network.disconnect("nobody", force=True)

    await api.docker(use)


async def test_a_bad_network_request_is_named(api: Api) -> None:
    body = {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "10.0.0.9"}}]}}
    status, answer = await api.json("POST", "/networks/create", body)
    assert status == 400 and "AuxiliaryAddresses" in answer["message"]


async def test_info_and_version_by_docker_py(api: Api) -> None:
    await api.created()

    def use(client: docker.DockerClient) -> None:
        assert client.version()["ApiVersion"] == wire.API_VERSION
        info = client.info()
        assert (info["ContainersRunning"], info["ServerVersion"], info["OSType"]) == (1, wire.VERSION, "linux")

    await api.docker(use)


# ---- whatever is sent


NASTY = st.sampled_from(["", "0", "-1", "a b", "%00", "{}", '{"a":1}', "[", '{"label":{"x":1}}', "1e99", "é", "9" * 30])
BODIES = st.sampled_from(
    [b"", b"{", b"[]", b"null", b'{"Cmd":5}', b'{"Image":{}}', b'{"Config":[1]}', b"\xff", b"{}" * 99]
)
QUERY = st.dictionaries(
    st.sampled_from(
        "all limit filters since until tail h w t signal name condition detachKeys fromSrc repo tag".split()
    ),
    NASTY,
    max_size=4,
)
STREAMS = {
    "/events",
    "/hawse/v1/events",
    "/containers/{ref}/wait",
    "/containers/{ref}/attach",
    "/containers/{ref}/logs",
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from([r for r in ROUTES if r.path not in STREAMS]),
    query=QUERY,
    body=BODIES,
    ref=st.sampled_from(["web", "nobody", "%2e%2e", "a%00b"]),
)
async def test_nothing_that_is_sent_gives_a_500(
    api: Api, route: Any, query: dict[str, str], body: bytes, ref: str
) -> None:
    if not [c for c in await api.engine.containers() if c.state is State.RUNNING]:
        await api.created()
    path = route.path.replace("{ref}", ref).replace("{name}", ref)
    status, _, answer = await api.request(route.method, f"{path}?{urlencode(query)}", body)
    assert status < 500 or status == 501, (route.path, answer)
