"""script/bench events: how soon, how many, how far behind, how big.

Latency is measured on a whole daemon in a lab: from the instant that the shim saw the exit to the byte at the last of N
readers.  The rest is the daemon's own store and server over a socket, with events made as fast as they can be written
(the kernel's part of a container's life would be the limit otherwise).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from hawse.supervisor.core import events as facts
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    NetworkName,
    PortBinding,
    State,
)
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx
from tests.unit.api.client import served

REPOSITORY = Path(__file__).resolve().parents[2]
FOLLOWERS = 20
CHUNK = 200


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="script/bench events", description=__doc__.partition("\n")[0])
    parser.add_argument("--behind", type=int, default=1_000_000, help="events that the late reader has to catch up")
    parser.add_argument("--seconds", type=float, default=10.0, help="of sustained writing")
    parser.add_argument("--samples", type=int, default=20, help="exits for each number of readers")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stored", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        asyncio.run(_serve(arguments.serve, arguments.behind if arguments.stored else 0, arguments.seconds))
        return 0
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs", flush=True)
    latency(arguments.samples)
    hook_latency(arguments.samples)
    throughput(arguments.seconds)
    catch_up(arguments.behind)
    return 0


# -- latency --


def latency(samples: int) -> None:
    with Lab() as lab:
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        for count in (1, 10, 100):
            with _Readers(str(lab.daemon.socket_path), count, "types=container.exited") as readers:
                first, last = [], []
                for number in range(samples):
                    name = f"box{count}-{number}"
                    lab.hawse("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
                    lab.daemon.request("POST", f"/containers/{name}/kill")
                    arrived, document = readers.next_line()
                    died = document["data"]["exit"]["finished_at"]
                    first.append((min(arrived) - died) / 1e6)
                    last.append((max(arrived) - died) / 1e6)
                    lab.hawse("rm", "-f", name)
            print(
                f"exit to {count:3} readers: first median {statistics.median(first):.1f} worst {max(first):.1f} ms, "
                f"last median {statistics.median(last):.1f} worst {max(last):.1f} ms",
                flush=True,
            )


def hook_latency(samples: int) -> None:
    """From the exit to the word of a hook of two programs, /bin/sh and date."""
    with Lab() as lab:
        out = lab.share / "stamps"
        hook = lab.state / "hooks.d" / "on-container.exited.d" / "10-stamp"
        hook.parent.mkdir(parents=True)
        hook.write_text(f"#!/bin/sh\nexec date +%s%N >> {out}\n")
        hook.chmod(0o755)
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        took = []
        with _Readers(str(lab.daemon.socket_path), 1, "types=container.exited") as readers:
            for number in range(samples):
                lab.hawse("run", "-d", "--network", "none", "--name", f"box{number}", "busybox", "sleep", "1000")
                lab.daemon.request("POST", f"/containers/box{number}/kill")
                _, document = readers.next_line()
                eventually(lambda number=number: out.exists() and out.read_text().count("\n") > number)
                stamp = int(out.read_text().splitlines()[-1])
                took.append((stamp - document["data"]["exit"]["finished_at"]) / 1e6)
                lab.hawse("rm", "-f", f"box{number}")
        print(f"exit to a hook's first word: median {statistics.median(took):.1f} worst {max(took):.1f} ms", flush=True)


class _Readers:
    """Many followers in one process, as bytes on sockets."""

    def __init__(self, path: str, count: int, query: str) -> None:
        self._sockets = [_follow(path, query) for _ in range(count)]

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def next_line(self) -> tuple[list[int], dict[str, dict[str, dict[str, int]]]]:
        """When (ns since 1970) the next event was complete at each reader, and the event."""
        waiting = dict.fromkeys(self._sockets, b"")
        arrived: list[int] = []
        line = b""
        with selectors.DefaultSelector() as selector:
            for sock in waiting:
                selector.register(sock, selectors.EVENT_READ)
            while len(arrived) < len(waiting):
                for key, _ in selector.select(20) or ((None, 0),):
                    assert key is not None, "no event came"
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    waiting[sock] += sock.recv(1 << 16)
                    if waiting[sock].endswith(b"\n"):
                        arrived.append(time.time_ns())
                        selector.unregister(sock)
                        line = waiting[sock]
        document: dict[str, dict[str, dict[str, int]]] = json.loads(line)
        return arrived, document


def _follow(path: str, query: str) -> socket.socket:
    """HTTP/1.0, so that the body is nothing but lines; returns when the daemon follows."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(f"GET /hawse/v1/events?follow=1&after=now&{query} HTTP/1.0\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return sock


# -- the store and the server alone --


async def _serve(root: Path, stored: int, seconds: float) -> None:
    """The child: fill the journal, serve, write for `seconds` when told by a line, say what was done by lines."""
    fact = _fact()
    if stored:
        async with await Store.open(root / "db") as store:
            begun = time.monotonic()
            for _ in range(stored // CHUNK):
                await store.transact(lambda tx: _append(tx, fact, CHUNK))
            took = time.monotonic() - begun
        size = sum(path.stat().st_size for path in root.glob("db*"))
        print(json.dumps({"bytes": size / stored, "filled": stored / took}), flush=True)
    async with served(root) as api:
        print(json.dumps({"socket": str(api.path), "pid": os.getpid()}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if not stored:
            written, end = 0, time.monotonic() + seconds
            begun = time.monotonic()
            while time.monotonic() < end:
                # one event a transaction, several callers at a time, as a busy daemon has them
                await asyncio.gather(*(api.engine.store.transact(lambda tx: _append(tx, fact, 1)) for _ in range(16)))
                written += 16
            print(json.dumps({"written": written, "seconds": time.monotonic() - begun}), flush=True)
            await asyncio.to_thread(sys.stdin.readline)


def _append(tx: Tx, fact: facts.Fact, count: int) -> None:
    for _ in range(count):
        tx.append(fact)


def _fact() -> facts.Fact:
    """A start like any other."""
    container = Container(
        id=ContainerId("ab" * 32),
        name="web",
        config=ContainerConfig(
            image="nginx",
            cmd=("nginx", "-g", "daemon off;"),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
            labels={"tier": "front"},
            ports=(PortBinding(container_port=80, host_port=8080),),
        ),
        state=State.RUNNING,
        created_at=time.time_ns(),
        stages={
            "namespaces": 900,
            "mounts": 2100,
            "cgroup": 800,
            "network": 4000,
            "gate": 100,
            "exec": 900,
            "total": 9000,
        },
    )
    endpoint = Endpoint(
        container_id=container.id,
        network=NetworkName("bridge"),
        address=IPv4Address("172.30.0.2"),
        prefix=24,
        mac="02:42:ac:1e:00:02",
        gateway=IPv4Address("172.30.0.1"),
        veth="h-0123456789ab",
        ifname="eth0",
        ports=container.config.ports,
    )
    return facts.ContainerStarted(container=container, endpoints=(endpoint,))


class _Child:
    def __init__(self, *flags: str) -> None:
        self._directory = tempfile.TemporaryDirectory(dir=REPOSITORY / ".cache")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.events", "--serve", self._directory.name, *flags],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._directory.cleanup()

    def said(self) -> dict[str, float | str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server ended"
        found: dict[str, float | str] = json.loads(line)
        return found

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def rss(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def throughput(seconds: float) -> None:
    """20 readers follow, one more is stopped; the server's memory meanwhile."""
    with _Child("--seconds", str(seconds)) as child:
        path = str(child.said()["socket"])
        followers = [_follow(path, "") for _ in range(FOLLOWERS)]
        stopped = _follow(path, "")
        counts = dict.fromkeys(followers, 0)
        before = child.rss()
        child.go()
        result: dict[str, float | str] | None = None
        peak, finished = before, 0.0
        begun = time.monotonic()
        with selectors.DefaultSelector() as selector:
            assert child._process.stdout is not None
            selector.register(child._process.stdout, selectors.EVENT_READ)
            for sock in followers:
                selector.register(sock, selectors.EVENT_READ)
            while result is None or min(counts.values()) < float(result["written"]):
                for key, _ in selector.select(10) or ((None, 0),):
                    assert key is not None, f"readers got {sorted(counts.values())[:3]} of {result}"
                    if isinstance(key.fileobj, socket.socket):
                        counts[key.fileobj] += key.fileobj.recv(1 << 18).count(b"\n")
                    else:
                        result, finished = child.said(), time.monotonic()
                        selector.unregister(key.fileobj)
                peak = max(peak, child.rss()) if time.monotonic() - begun > 0.5 else peak
        written, took = float(result["written"]), float(result["seconds"])
        print(
            f"journal: {written / took:,.0f} events/s written for {took:.0f} s with {FOLLOWERS} readers and one stopped; "
            f"the last reader was done {max(0.0, time.monotonic() - finished):.1f} s after the last write; "
            f"memory {before:.0f} MiB before, {peak:.0f} MiB at most",
            flush=True,
        )
        for sock in (*followers, stopped):
            sock.close()


def catch_up(behind: int) -> None:
    with _Child("--stored", "--behind", str(behind)) as child:
        filled = child.said()
        print(f"size: {float(filled['bytes']):,.0f} bytes on disk per event (of {len(_line()):,} bytes)", flush=True)
        path = str(child.said()["socket"])
        before = child.rss()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        begun = time.monotonic()
        sock.sendall(b"GET /hawse/v1/events HTTP/1.0\r\n\r\n")
        count = 0
        while data := sock.recv(1 << 20):
            count += data.count(b'"specversion"')
        took = time.monotonic() - begun
        sock.close()
        print(
            f"catch-up: {count:,} events in {took:.1f} s, {count / took:,.0f} events/s; "
            f"memory {before:.0f} MiB before, {child.rss():.0f} MiB after",
            flush=True,
        )


def _line() -> bytes:
    return json.dumps(
        facts.cloudevent(facts.Event(epoch="e" * 32, seq=1, time=1, fact=_fact()), "node"), default=str
    ).encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
