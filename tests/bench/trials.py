"""script/bench trials [--trials 14] [--seed S]: the same trials that docker and podman were given (docs/reliability.md).

Each in a fresh lab: twenty servers with published ports run; three workers run and remove containers with ports on a /27; the
daemon gets a SIGKILL at a random instant; a new one is started; everything that it knows is removed; what is left is counted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually

SERVERS, WORKERS = 20, 3
PORTS, WORKER_PORTS = 21_000, 22_000
NETWORK, SUBNET, ADDRESSES = "quay", "10.77.0.0/27", 29
LEFT = {
    "nftables elements left": "nft element",
    "links left": "link",
    "processes left": "process",
    "cgroup directories left": "cgroup",
    "files left": "file",
    "rows left": "record",
}
HTTPD = ["httpd", "-f", "-p", "80", "-h", "/www"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench trials", description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    bad = 0
    for number in range(arguments.trials):
        with Lab() as lab:
            found, leaks = trial(lab, random.Random(f"{arguments.seed} {number}"))
        total.update(found)
        bad += bool(leaks)
        sys.stdout.write(
            f"trial {number + 1}: { {k: n for k, n in found.items() if n} }{''.join(f'{chr(10)}  {line}' for line in leaks)}\n"
        )
        sys.stdout.flush()
    print(f"\n| {arguments.trials} trials | hawse |\n|---|---|")
    for name, count in total.items():
        print(f"| {name} | {count} |")
    print(f"| trials with anything left over or lost | {bad} |")
    return 1 if bad else 0


def trial(lab: Lab, chance: random.Random) -> tuple[Counter[str], list[str]]:
    """What was counted, and the lines in which the lab differs from what it was."""
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "--rm", "-p", "18080:80", "busybox", "true")
    before = lab.settled()
    lab.hawse("network", "create", "--subnet", SUBNET, NETWORK)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: run(lab, f"web{i}", PORTS + i, "bridge"), range(SERVERS)))
    for i in range(SERVERS):
        eventually(lambda i=i: lab.client.reaches(HOST, PORTS + i))  # type: ignore[misc]
    over = threading.Event()
    runs: Counter[str] = Counter()
    workers = [threading.Thread(target=work, args=(lab, i, over, runs)) for i in range(WORKERS)]
    for worker in workers:
        worker.start()
    time.sleep(chance.uniform(0.5, 2.0))
    lab.daemon.strike()
    lab.daemon.wait_dead()
    over.set()
    for worker in workers:
        worker.join()
    lab.daemon.start()
    found = Counter(
        {
            "containers run and removed before the kill": runs["done"],
            "requests cut off or refused by the kill": runs["cut off"],
        }
    )
    found["of the servers, ended by the kill"] = sum(
        not lab.client.reaches(HOST, PORTS + i, timeout=5) for i in range(SERVERS)
    )
    found["events lost, doubled or out of order"] = len(anomalies(lab.root / "hawse.db"))
    found["off by `hawse audit`"] = audited(lab)
    remove_all(lab)
    found["addresses that cannot be had again"] = ADDRESSES - sum(
        call(lab, "POST", f"/containers/create?name=a{i}", body(NETWORK))[0] == 201 for i in range(ADDRESSES)
    )
    remove_all(lab)
    ports = [*range(PORTS, PORTS + SERVERS), *range(WORKER_PORTS, WORKER_PORTS + WORKERS)]
    found["ports on which a new container is not reached"] = sum(not served_again(lab, port) for port in ports)
    lab.hawse("network", "rm", NETWORK)
    leaks = lab.leaks(before)
    for name, text in LEFT.items():
        found[name] = sum(line.startswith(f"+ {text}") for line in leaks)
    return found, leaks


def run(lab: Lab, name: str, port: int, network: str) -> None:
    for path, given in ((f"create?name={name}", body(network, port)), (f"{name}/start", None)):
        status, answer = call(lab, "POST", f"/containers/{path}", given)
        assert status in (201, 204), answer


def work(lab: Lab, index: int, over: threading.Event, runs: Counter[str]) -> None:
    """Run and remove until told to stop, or until the daemon is gone under a request."""
    try:
        for number in range(1_000_000):
            if over.is_set():
                return
            name = f"worker{index}-{number}"
            run(lab, name, WORKER_PORTS + index, NETWORK)
            status, answer = call(lab, "DELETE", f"/containers/{name}?force=1")
            assert status == 204, answer
            runs["done"] += 1
    except (OSError, http.client.HTTPException):
        runs["cut off"] += 1


def remove_all(lab: Lab) -> None:
    """Every container that it knows, side by side."""
    known = [one["Id"] for one in json.loads(call(lab, "GET", "/containers/json?all=1")[1])]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: call(lab, "DELETE", f"/containers/{one}?force=1"), known))
    assert all(status == 204 for status, _ in answers), answers


def audited(lab: Lab) -> int:
    """What is still off when what was under way has had its time."""
    try:
        eventually(lambda: json.loads(lab.hawse("audit", "--format", "json", check=False).out) == [])
    except AssertionError:
        return len(json.loads(lab.hawse("audit", "--format", "json", check=False).out))
    return 0


def served_again(lab: Lab, port: int) -> bool:
    run(lab, "again", port, "bridge")
    try:
        return eventually(lambda: lab.client.get(HOST, port, "/index.html", timeout=2) == b"hello from busybox\n")
    except AssertionError:
        return False
    finally:
        call(lab, "DELETE", "/containers/again?force=1")


def body(network: str, port: int = 0) -> dict[str, Any]:
    ports = {"80/tcp": [{"HostPort": str(port)}]} if port else {}
    return {"Image": "busybox", "Cmd": HTTPD, "HostConfig": {"NetworkMode": network, "PortBindings": ports}}


def call(lab: Lab, method: str, path: str, given: object = None) -> tuple[int, bytes]:
    return lab.daemon.request(method, path, given, timeout=60)


if __name__ == "__main__":
    raise SystemExit(main())
