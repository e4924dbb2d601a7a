"""Runs inside a machine: many containers, each a web server with a published port, under every policy, some stopped by hand.

python3 -m tests.vm.power.inside.crowd make N     make them
python3 -m tests.vm.power.inside.crowd look N     after a reboot: which came back, and when, as one JSON object
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tests.vm.power.inside.api import call, get

POLICIES = ("always", "unless-stopped", "on-failure", "no")
FIRST_PORT = 20_000
PATIENCE = 300.0


def kind(number: int) -> str:
    """`always`, or `always, stopped`: every third of each policy was stopped by its user."""
    return POLICIES[number % 4] + (", stopped" if number // 4 % 3 == 2 else "")


def make(number: int) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["httpd", "-f", "-h", "/etc"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": str(FIRST_PORT + number)}]},
            "RestartPolicy": {"Name": POLICIES[number % 4]},
        },
    }
    verbs = [f"/create?name=c{number}", f"/c{number}/start"]
    if kind(number).endswith(", stopped"):
        verbs.append(f"/c{number}/stop?t=0")
    for verb in verbs:
        status, said = call("POST", f"/containers{verb}", body if "create" in verb else None)
        assert status in (201, 204), f"{verb}: {status} {said!r}"


def serves(number: int) -> bool:
    """Whether it gives a page through its published port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{FIRST_PORT + number}/passwd", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def comes_back(number: int) -> bool:
    """docker's rules, as docs/operations.md has them."""
    return kind(number).startswith("always") or kind(number) == "unless-stopped"


def _time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def look(count: int) -> dict[str, object]:
    missing = {n for n in range(count) if comes_back(n)}
    deadline = time.monotonic() + PATIENCE
    while missing and time.monotonic() < deadline:
        with ThreadPoolExecutor(8) as pool:
            missing -= {n for n, served in zip(missing, pool.map(serves, missing), strict=True) if served}
        time.sleep(0.2)
    served_at = time.time()
    told = [json.loads(line) for line in call("GET", "/hawse/v1/events")[1].splitlines()]
    recovered = [event for event in told if event["type"] == "daemon.recovered"][-1]
    begun = _time(recovered) - recovered["data"]["took_us"] / 1e6  # when it began to recover, all but its very start
    starts = sorted(_time(e) - begun for e in told if e["type"] == "container.started" and e["seq"] > recovered["seq"])
    back: dict[str, list[int]] = {}
    for container in get("/containers/json?all=1"):
        number = int(container["Names"][0][2:])
        of_kind = back.setdefault(kind(number), [0, 0])
        of_kind[0] += container["State"] == "running"
        of_kind[1] += 1
    return {
        "running": dict(sorted(back.items())),
        "silent": sorted(missing),
        "first_start": starts[0],
        "last_start": starts[-1],
        "last_page": served_at - begun,
    }


if __name__ == "__main__":
    verb, count = sys.argv[1], int(sys.argv[2])
    if verb == "make":
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, range(count)))
    else:
        sys.stdout.write(json.dumps(look(count)))
