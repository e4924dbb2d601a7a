"""`hawse selftest chaos`: a storm in a lab of its own, and what it left behind.  Exit code 1 when that is anything at all."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.selftest import story
from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.snapshot import Snapshot
from hawse.cli.selftest.storm import Storm
from hawse.cli.selftest.waiting import PATIENCE
from hawse.cli.show.table import aligned

KINDS = {
    "link": "links",
    "address": "addresses",
    "route": "routes",
    "nft": "nftables objects",
    "mount": "mounts",
    "cgroup": "cgroups",
    "process": "processes",
    "file": "files",
    "record": "rows of the database",
    "descriptor": "descriptors of the daemon",
}
BUILTIN = ("bridge", "host", "none")


def _chaos(_: Context, options: Options, __: list[str]) -> int:
    if os.geteuid() != 0:
        raise Failure("selftest needs root: it makes namespaces", 1)
    seed = options.seed if options.given("seed") else int.from_bytes(os.urandom(3), "big")
    print(f"Seed {seed}, {options.seconds} s, {options.workers} workers; in a lab, nothing of this machine is touched.")
    with Lab() as lab:
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        lab.hawse("run", "--rm", "-p", "18080:80", "busybox", "true")  # makes the default network
        before = lab.settled()
        storm = Storm(lab, seed, options.workers)
        storm.run(options.seconds)
        served, unreached = visit(lab)
        begun = time.monotonic()
        wrong = storm.wrong + unreached + clear(lab)
        leaks = lab.leaks(before)
        took = time.monotonic() - begun
        off = audit(lab)
        untold = story.anomalies(lab.root / "hawse.db")
        for counter, title in ((storm.done, "Done"), (storm.killed, "Killed"), (storm.damaged, "Damaged")):
            print(f"\n{title}:")
            print("\n".join(aligned([[f" {what}", str(n)] for what, n in sorted(counter.items())])))
        if storm.refused:
            print("\nAnswered with an error (the most frequent):")
            print("\n".join(f" {n} × {what}" for what, n in storm.refused.most_common(8)))
        print(
            f"\nWhen it was over {served} servers ran; {len(unreached)} could not be reached through their published port."
        )
        print(f"\nEverything was removed, {took:.1f} s later is left over or missing:")
        print("\n".join(aligned(table(before, leaks))))
        findings = {"leak": leaks, "audit": off, "journal": untold, "wrong": wrong}
        events = story.head(lab.root / "hawse.db")
        print(f"\nJournal: {events} events, {len(untold)} lost, doubled or out of order.  Audit: {len(off)} off.")
        for kind, lines in findings.items():
            print("".join(f"{kind}: {line}\n" for line in lines), end="")
        failed = any(findings.values())
        if failed and options.log:
            print(lab.daemon.log, file=sys.stderr)
    return 1 if failed else 0


def visit(lab: Lab, timeout: float = PATIENCE) -> tuple[int, list[str]]:
    """Return how many servers have survived, and those of them that no client can reach."""
    waiting = servers(lab)
    count = len(waiting)
    deadline = time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        for name, port in list(waiting.items()):
            if lab.client.reaches(HOST, port, timeout=0.3):
                del waiting[name]
        if waiting:
            time.sleep(0.02)
            living = servers(lab)  # one may have been hit at the last moment, and have ended by now
            waiting = {name: port for name, port in waiting.items() if name in living}
    return count, [f"{name} does not answer on port {port}" for name, port in waiting.items()]


def servers(lab: Lab) -> dict[str, int]:
    """Name → published port of those that run."""
    _, body = lab.daemon.request("GET", "/containers/json")
    return {
        shown["Names"][0]: port["PublicPort"]
        for shown in json.loads(body)
        if shown["Command"].startswith("httpd") and shown["State"] == "running"
        for port in shown["Ports"]
        if port.get("PublicPort") and port["IP"] == "0.0.0.0"
    }


def clear(lab: Lab) -> list[str]:
    """Remove every container and network that was made; what could not be removed, and why."""
    deadline = time.monotonic() + PATIENCE
    while True:
        _, body = lab.daemon.request("GET", "/containers/json?all=1")
        refused = []
        for container in json.loads(body):
            status, answer = lab.daemon.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            if status not in (204, 404):
                refused.append(f"{container['Names'][0]} {container['State']}: {status} {answer.decode()[:300]}")
        if not json.loads(body) or time.monotonic() > deadline:
            break
    _, body = lab.daemon.request("GET", "/networks")
    for network in json.loads(body):
        if network["Name"] not in BUILTIN:
            status, answer = lab.daemon.request("DELETE", f"/networks/{network['Name']}")
            if status != 204:
                refused.append(f"network {network['Name']}: {status} {answer.decode()[:300]}")
    return refused


def audit(lab: Lab) -> list[str]:
    """Return what the daemon itself finds to be off, given a moment to put it right."""
    deadline = time.monotonic() + PATIENCE
    while True:
        _, body = lab.daemon.request("GET", "/hawse/v1/audit")
        off = [f"{found['Object']}: {found['Problem']}" for found in json.loads(body)]
        if not off or time.monotonic() > deadline:
            return off
        time.sleep(0.1)


def table(before: Snapshot, leaks: list[str]) -> list[list[str]]:
    counts: Counter[str] = Counter()
    for line in leaks:
        sign, kind, _ = line.split(" ", 2)
        counts[sign + kind] += 1
    rows = [
        [f" {title}", str(before.facts[kind].total()), str(counts["+" + kind]), str(counts["-" + kind])]
        for kind, title in KINDS.items()
    ]
    return [[" WHAT", "BEFORE", "LEFT OVER", "MISSING"], *rows]


CHAOS = Command(
    _chaos,
    most=0,
    flags=(
        Flag("seconds", kind="int", default=60, help="How long it rages"),
        Flag("seed", kind="int", help="What everybody chooses follows from it (default: a random one, printed)"),
        Flag("workers", kind="int", default=3, help="How many use the daemon at the same time"),
        Flag("log", kind="bool", help="Print the daemon's log when something is wrong"),
    ),
)
