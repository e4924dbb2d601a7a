"""docker-compose 1.29 with a web server and a real redis: twice up and down, and nothing is left."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")

PROJECT = """
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        mkdir -p /www/cgi-bin
        printf '#!/bin/sh\\necho; printf "INCR visits\\\\r\\\\nQUIT\\\\r\\\\n" | nc cache 6379 | head -n 1' > /www/cgi-bin/visit
        chmod +x /www/cgi-bin/visit
        echo serving
        exec httpd -f -p 80 -h /www
    ports: ["8082:80"]
    networks: [front, back]
    depends_on:
      redis: {condition: service_healthy}
    stop_grace_period: 0s
  redis:
    image: redis
    command: redis-server --dir /data --appendonly yes --protected-mode no
    user: "999"
    volumes: ["kept:/data"]
    networks:
      back: {aliases: [cache]}
    healthcheck: {test: ["CMD", "redis-cli", "ping"], interval: 200ms, timeout: 5s, retries: 50}
networks:
  front: {}
  back: {internal: true}
volumes:
  kept: {}
"""


@pytest.fixture
def redis(lab: Lab, debian: Path) -> Iterator[None]:
    """An image `redis`: Debian's server and client with what they are linked to, in a busybox root.  /data is user 999's."""
    programs = ("/usr/bin/redis-server", "/usr/bin/redis-cli")
    linked = lab.hawse("run", "--rm", "--rootfs", debian, "ldd", *programs).out
    packed = io.BytesIO(busybox_tar().read_bytes())
    with tarfile.open(fileobj=packed, mode="a", dereference=True) as tar:
        for path in dict.fromkeys((*programs, *re.findall(r"(/\S+) \(0x", linked))):
            there = debian / path.lstrip("/")
            tar.add(there.resolve() if there.is_relative_to(debian) else there, path)
        data = tarfile.TarInfo("data")
        data.type, data.mode, data.uid, data.gid = tarfile.DIRTYPE, 0o700, 999, 999
        tar.addfile(data)
    lab.hawse("image", "import", "-", "redis", input=packed.getvalue())
    yield
    lab.hawse("image", "rm", "redis")


@pytest.fixture
def project(lab: Lab) -> Iterator[Path]:
    path = lab.share / "shop"
    path.mkdir()
    (path / "docker-compose.yml").write_text(PROJECT)
    yield path
    shutil.rmtree(path)


@pytest.mark.timeout(400)
def test_a_shop_goes_up_and_down_twice(lab: Lab, redis: None, project: Path) -> None:
    env = {"DOCKER_HOST": lab.env["HAWSE_HOST"], "COMPOSE_API_VERSION": "auto"}

    def compose(*args: str) -> str:
        return lab.run(["docker-compose", "--ansi", "never", *args], cwd=project, env=env).out

    def visits() -> int:
        """Raises ValueError when the cache could not be asked, and has not counted."""
        return int(lab.client.get("10.199.0.1", 8082, "/cgi-bin/visit").strip().removeprefix(b":"))

    def kept() -> int:
        """What redis remembers, once it has read it."""
        return eventually(lambda: int(compose("exec", "-T", "redis", "redis-cli", "get", "visits")), interval=0.2)

    compose("up", "-d")  # web only once redis is healthy
    shown = compose("ps")
    assert re.search(r"shop_redis_1 .*Up \(healthy\)", shown) and "0.0.0.0:8082->80/tcp" in shown
    assert compose("exec", "-T", "redis", "redis-cli", "ping") == "PONG\n"
    assert eventually(visits) == 1  # published by front, though back, which comes first, is internal
    place = Path(lab.hawse("volume", "inspect", "-f", "{{.Mountpoint}}", "shop_kept").out.strip())
    assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (999, 0o700)
    logs = compose("logs")
    assert "serving" in logs and "Ready to accept connections" in logs
    compose("restart", "redis")
    assert kept() == 1
    compose("down", "-v")
    compose("up", "-d")
    assert eventually(visits) == 1
    compose("down", "-v")
    assert lab.hawse("ps", "-aq").out == lab.hawse("volume", "ls", "-q").out == ""
