"""script/bench calls [--calls N]: what N API calls of each kind leave in the daemon: memory, descriptors, threads.

Each kind is called a third as often first, unmeasured, so that caches are full and arenas have their size.  Memory is the
daemon's own PSS.  The calls come from four threads, each with a connection per call, as clients do it; a kind that leaves
its stream open hangs up in the middle.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import socket
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

AT_ONCE = 4
SLEEPER = {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}

Call = Callable[[Lab, int], None]


@dataclass(frozen=True, slots=True)
class Held:
    """What the daemon holds: KiB of memory, descriptors, threads."""

    memory: int
    descriptors: int
    threads: int


def held(lab: Lab) -> Held:
    process = Path(f"/proc/{lab.daemon.pid}")
    return Held(
        memory=int((process / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0]),
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
    )


def ask(lab: Lab, method: str, path: str, body: object = None, *, wanted: int = 200) -> Any:
    status, said = lab.daemon.request(method, f"/v1.47{path}", body)
    assert status == wanted, f"{method} {path}: {status} {said[:300]!r}"
    return json.loads(said) if said[:1] in (b"{", b"[") and b"\n{" not in said else said


def hang_up(lab: Lab, path: str, *, first: bool) -> None:
    """Begin to read a stream; with `first`, hang up after its first bytes."""
    connection = http.client.HTTPConnection("hawse")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(lab.daemon.socket_path))
        connection.request("GET", f"/v1.47{path}")
        answer = connection.getresponse()
        assert answer.status == 200
        if first:
            assert answer.read1(1)
        answer.close()
    finally:
        connection.close()


def create(lab: Lab, number: int) -> None:
    made = ask(lab, "POST", "/containers/create", SLEEPER, wanted=201)
    ask(lab, "DELETE", f"/containers/{made['Id']}", wanted=204)


def start(lab: Lab, number: int) -> None:
    made = ask(lab, "POST", "/containers/create", SLEEPER, wanted=201)
    ask(lab, "POST", f"/containers/{made['Id']}/start", wanted=204)
    ask(lab, "DELETE", f"/containers/{made['Id']}?force=1", wanted=204)


def execute(lab: Lab, number: int) -> None:
    asked = {"Cmd": ["echo", "said"], "AttachStdout": True}
    made = ask(lab, "POST", "/containers/box/exec", asked, wanted=201)
    said = ask(lab, "POST", f"/exec/{made['Id']}/start", {"Detach": False})
    assert b"said" in said, said
    ask(lab, "GET", f"/exec/{made['Id']}/json")


def put(lab: Lab, number: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(f"file-{number % 10}")
        info.size = 10_000
        tar.addfile(info, io.BytesIO(bytes(10_000)))
    connection = http.client.HTTPConnection("hawse")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(lab.daemon.socket_path))
    connection.request("PUT", "/v1.47/containers/box/archive?path=/tmp", packed.getvalue())
    assert connection.getresponse().status == 200
    connection.close()


def network(lab: Lab, number: int) -> None:
    ask(lab, "POST", "/networks/create", {"Name": f"net{number}"}, wanted=201)
    ask(lab, "DELETE", f"/networks/net{number}", wanted=204)


def volume(lab: Lab, number: int) -> None:
    ask(lab, "POST", "/volumes/create", {"Name": f"vol{number}"}, wanted=201)
    ask(lab, "DELETE", f"/volumes/vol{number}", wanted=204)


def get(path: str) -> Call:
    return lambda lab, number: ask(lab, "GET", path)


KINDS: tuple[tuple[str, Call, int], ...] = (
    ("list of containers", get("/containers/json?all=1"), 1),
    ("inspect", get("/containers/box/json"), 1),
    ("create and remove", create, 1),
    ("create, start, forced remove", start, 5),
    ("exec, attached", execute, 1),
    ("top", get("/containers/box/top"), 1),
    ("logs", get("/containers/box/logs?stdout=1&stderr=1"), 1),
    ("logs, followed, hung up", lambda lab, n: hang_up(lab, "/containers/box/logs?stdout=1&follow=1", first=True), 1),
    (
        "events of the last minute",
        lambda lab, n: ask(lab, "GET", f"/events?since={time.time() - 60}&until={time.time()}"),
        5,
    ),
    ("events, followed, hung up", lambda lab, n: hang_up(lab, "/events?since=1", first=True), 1),
    ("stats, once", get("/containers/box/stats?stream=0&one-shot=1"), 1),
    ("stats, streamed, hung up", lambda lab, n: hang_up(lab, "/containers/box/stats", first=True), 1),
    ("archive, got", get("/containers/box/archive?path=/bin/busybox"), 1),
    ("archive, put", put, 1),
    ("network, created and removed", network, 5),
    ("volume, created and removed", volume, 1),
    ("images", get("/images/json"), 1),
)
"""Title, one call, and by how much less often it is made: what takes long is made so less often."""


def prepare(lab: Lab) -> None:
    """The container that the calls are about."""
    body = {**SLEEPER, "Cmd": ["sh", "-c", "for i in $(seq 100); do echo line $i; done; exec sleep 100000"]}
    ask(lab, "POST", "/containers/create?name=box", body, wanted=201)
    ask(lab, "POST", "/containers/box/start", wanted=204)


def grown(lab: Lab, call: Call, calls: int, warm: int) -> tuple[Held, Held]:
    """Before and after `calls` calls, once what was left to do after them is done."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda n: call(lab, n), range(warm)))
        before = settled(lab)
        list(pool.map(lambda n: call(lab, n), range(calls)))
        return before, settled(lab, most=before.descriptors)


def settled(lab: Lab, most: int = 0) -> Held:
    """Streams that were hung up on are noticed and closed a moment later."""

    def still() -> Held | None:
        one = held(lab).descriptors
        time.sleep(0.1)
        two = held(lab)
        return two if one == two.descriptors and (not most or two.descriptors <= most) else None

    found = eventually(still)
    assert found is not None
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench calls", description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1000)
    calls = parser.parse_args().calls
    with Lab() as lab:
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        prepare(lab)
        grown(lab, create, 0, 600)  # the newest 1,024 events are kept decoded
        first = held(lab)
        print("| calls | of | memory before, KiB | after | descriptors before / after | threads | ms a call |")
        print("|---|---|---|---|---|---|---|")
        for title, call, fewer in KINDS:
            begun, count = time.monotonic(), calls // fewer
            before, after = grown(lab, call, count, count // 3)
            took = (time.monotonic() - begun) * 1000 / (count + count // 3)
            print(
                f"| {count} | {title} | {before.memory} | {after.memory} ({after.memory - before.memory:+}) | "
                f"{before.descriptors} / {after.descriptors} | {after.threads} | {took:.1f} |",
                flush=True,
            )
        last = held(lab)
        print(f"\nAll of it: {first.memory} → {last.memory} KiB, {first.descriptors} → {last.descriptors} descriptors")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
