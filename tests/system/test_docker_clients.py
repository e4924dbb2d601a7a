"""docker-py, aiodocker and docker-compose, none of which we wrote, against the real daemon."""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import aiodocker
import docker
import docker.errors
import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

COMPOSE = """
version: "3.8"
services:
  web:
    image: busybox
    command: sh -c 'mkdir -p /w; echo page > /w/index.html; echo serving; exec httpd -f -p 80 -h /w'
    ports: ["8081:80"]
    networks: [front]
    volumes: ["data:/data"]
    depends_on: [store]
    environment: {A: b}
    stop_grace_period: 0s
  store:
    image: busybox
    command: sh -c 'echo stored; exec sleep 1000'
    networks:
      front: {aliases: [db]}
    labels: {x: y}
    stop_grace_period: 0s
networks:
  front: {}
volumes:
  data: {}
"""

LATE = """
import http.client, time, docker

answer = http.client.HTTPConnection.getresponse

def late(connection):
    time.sleep(0.5)  # for as long a busy machine may keep it
    return answer(connection)

client = docker.from_env()
box = client.containers.run("busybox", ["sh", "-c", "echo early; exec sleep 1000"], detach=True)
while not box.logs():
    time.sleep(0.05)
http.client.HTTPConnection.getresponse = late
for tty in False, True:
    print(box.exec_run(["echo", "said"], tty=tty).output.strip())
print(box.attach(logs=True), next(box.attach(logs=True, stream=True)))
box.remove(force=True)
"""


@pytest.fixture
def client(lab: Lab) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=f"unix://{lab.daemon.socket_path}", timeout=PATIENCE)
    yield client
    client.close()


def test_docker_py_runs_and_removes(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo sorry >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3 and b"sorry" in failed.value.stderr
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("busybox", ["nope"], remove=True)
    (left,) = client.containers.list(all=True)  # docker-py removes only what it could start
    assert (left.status, left.attrs["State"]["ExitCode"]) == ("created", 127)
    left.remove()


def test_docker_py_works_with_a_running_one(client: docker.DockerClient, lab: Lab) -> None:
    network = client.networks.create("pynet")
    volume = client.volumes.create("pyvol")
    box = client.containers.run(
        "busybox",
        ["sh", "-c", "echo started; exec httpd -f -p 80 -h /srv"],
        name="py",
        detach=True,
        network="pynet",
        ports={"80/tcp": None},
        volumes={"pyvol": {"bind": "/srv", "mode": "rw"}},
        mem_limit="64m",
        environment={"A": "1"},
        labels={"owner": "py"},
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("index.html")
        info.size = 6
        tar.addfile(info, io.BytesIO(b"hello\n"))
    assert box.put_archive("/srv", packed.getvalue())
    box.reload()
    port = int(box.ports["80/tcp"][0]["HostPort"])
    eventually(lambda: lab.client.get("10.199.0.1", port) == b"hello\n")
    code, said = box.exec_run(["sh", "-c", "echo $A; exit 4"])
    assert (code, said) == (4, b"1\n")
    code, (out, err) = box.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert (code, out, err) == (0, b"o\n", b"e\n")
    chunks, found = box.get_archive("/srv/index.html")
    assert found["size"] == 6 and b"hello\n" in b"".join(chunks)
    assert box.logs() == b"started\n" and box.stats(stream=False)["memory_stats"]["limit"] == 64 << 20
    assert box.top()["Processes"][0][-1].startswith("httpd") and {"Path": "/srv", "Kind": 1} in box.diff()
    image = box.commit("pyimage", tag="v1")
    assert client.images.get("pyimage:v1").id == image.id
    box.remove(force=True, v=True)
    client.images.remove("pyimage:v1")
    volume.remove()
    network.remove()


def test_docker_py_that_looks_late_misses_no_output(lab: Lab) -> None:
    """It reads the stream past the buffer into which it has read the head: what comes in together with it would be lost."""
    shown = lab.run([sys.executable, "-W", "ignore", "-c", LATE], env={"DOCKER_HOST": lab.env["HAWSE_HOST"]}).out
    assert shown.splitlines() == ["b'said'", "b'said'", r"b'early\n' b'early\n'"]


def test_docker_py_follows_events(client: docker.DockerClient) -> None:
    since = int(time.time()) - 1
    client.containers.run("busybox", ["true"], name="told", remove=True)
    seen = []
    for event in client.events(since=since, filters={"container": "told", "type": "container"}, decode=True):
        seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    assert seen[-4:] == ["create", "start", "die", "destroy"]


async def test_aiodocker(lab: Lab) -> None:
    async with aiodocker.Docker(url=f"unix://{lab.daemon.socket_path}") as client:
        assert (await client.version())["ApiVersion"] == "1.47"
        config: dict[str, Any] = {
            "Image": "busybox",
            "Cmd": ["cat"],
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
        }
        box = await client.containers.create(config, name="aio")
        await box.start()
        run = await box.exec(["sh", "-c", "echo out; cat"], stdin=True)
        async with run.start(detach=False) as stream:
            message = await stream.read_out()
            assert message is not None and (message.stream, message.data) == (1, b"out\n")
            await stream.write_in(b"typed\n")
            message = await stream.read_out()
            assert message is not None and message.data == b"typed\n"
        logs = await box.log(stdout=True)
        assert logs == []
        assert [c.id for c in await client.containers.list(filters={"name": ["aio"]})] == [box.id]
        await box.delete(force=True)
        with pytest.raises(aiodocker.DockerError) as gone:
            await box.show()
        assert gone.value.status == 404


@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose 1.29 is not installed")
def test_a_compose_project_goes_up_and_down_twice(lab: Lab) -> None:
    project = lab.share / "proj"
    project.mkdir()
    (project / "docker-compose.yml").write_text(COMPOSE)
    env = {"DOCKER_HOST": lab.env["HAWSE_HOST"], "COMPOSE_API_VERSION": "auto"}

    def compose(*args: str) -> str:
        return lab.run(["docker-compose", "--ansi", "never", *args], cwd=project, env=env).out

    for _ in range(2):
        compose("up", "-d")
        eventually(lambda: lab.client.get("10.199.0.1", 8081) == b"page\n")
        assert "0.0.0.0:8081->80/tcp" in compose("ps")
        eventually(lambda: {"serving", "stored"} <= set(compose("logs").split()))
        assert compose("exec", "-T", "web", "sh", "-c", "echo $A; ls -d /data").split() == ["b", "/data"]
        for name in ("store", "db"):
            assert "Address: 1" in compose("exec", "-T", "web", "nslookup", "-type=a", name)
        before = lab.hawse("ps", "-q").out
        compose("up", "-d")
        assert lab.hawse("ps", "-q").out == before
        compose("up", "-d", "--force-recreate", "--no-deps", "web")
        eventually(lambda: lab.client.get("10.199.0.1", 8081) == b"page\n")
        compose("down", "-v")
        assert lab.hawse("ps", "-aq").out == ""
    lab.run(["rm", "-rf", str(project)])
