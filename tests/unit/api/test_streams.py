"""Connections that stay: wait, attach, exec and logs, and clients that go."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import anyio
import docker
import docker.errors
import pytest
from docker.models.containers import Container as DockerContainer

from hawse.supervisor.api import wire
from hawse.supervisor.shim.logwriter import LogWriter
from tests.unit.api.client import Api, head, next_line


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


def write_log(api: Api, ref: str, *pieces: tuple[str, bytes]) -> LogWriter:
    path = api.engine.parts.places.of(ref).log
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


@pytest.mark.parametrize("program_s", [True, False], ids=["tty", "pipes"])
@pytest.mark.parametrize("client_s", [True, False], ids=["raw", "framed"])
async def test_an_exec_is_framed_as_its_start_asks(api: Api, program_s: bool, client_s: bool) -> None:
    """docker-py makes one with a terminal and starts it without naming it: then it reads frames."""
    ref = await api.created()
    _, made = await api.json("POST", f"/containers/{ref}/exec", {"Cmd": ["cat"], "AttachStdin": True, "Tty": program_s})
    fields = {"Connection": "Upgrade", "Upgrade": "tcp"}
    reader, writer = await api.send("POST", f"/v1.47/exec/{made['Id']}/start", {"tty": client_s}, fields)
    _, headers = await head(reader)
    assert headers["content-type"] == (wire.RAW_STREAM if client_s else wire.MULTIPLEXED_STREAM)
    writer.write(b"x")
    writer.write_eof()
    assert await reader.read() == (b"x" if client_s else wire.frame(wire.STDOUT, b"x"))
    writer.close()
