"""Runs inside a machine after a power cut: compares what `churn.py` was told with what is there, and prints one JSON object.

    python3 -m tests.vm.power.inside.judge FILE

`lost` is what was answered and is not so; `broken` is what may never be, answered or not.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.vm.power.inside.api import call, get
from tests.vm.power.inside.churn import FILES, content

ROOT = Path("/var/lib/hawse")
PATIENCE = 180.0  # seconds; some 20 in software emulation with nothing else to do


def until(condition: Callable[[], bool]) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def answers() -> bool:
    try:
        return call("GET", "/_ping")[0] == 200
    except OSError:
        return False


class Told:
    """What one object's requests were answered, in order; `flying` was asked and not answered."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.flying = ""
        self.facts: dict[str, Any] = {}

    @property
    def is_there(self) -> bool | None:
        """None: it may be either."""
        if self.flying in ("create", "rm"):
            return None
        return "create" in self.done and "rm" not in self.done


def read(path: Path) -> tuple[dict[tuple[str, str], Told], int]:
    told: dict[tuple[str, str], Told] = defaultdict(Told)
    count = 0
    for line in map(json.loads, path.read_text().splitlines()):
        subject = told[line["kind"], line["name"]]
        subject.flying = "" if line["answered"] else line["verb"]
        if line["answered"] and line["status"] < 400:
            count += 1
            subject.done.append(line["verb"])
            subject.facts |= {key: line[key] for key in ("policy", "address") if key in line}
    return told, count


def lost(told: dict[tuple[str, str], Told]) -> Iterable[str]:
    there = {
        "container": {c["Names"][0][1:] for c in get("/containers/json?all=1")},
        "network": {n["Name"] for n in get("/networks")},
        "image": {tag.removesuffix(":latest") for i in get("/images/json") for tag in i["RepoTags"]},
        "volume": {v["Name"] for v in get("/volumes")["Volumes"]},
    }
    for (kind, name), subject in told.items():
        if subject.is_there is not None and subject.is_there != (name in there[kind]) and subject.done:
            yield f"{kind} {name}: {'gone' if subject.is_there else 'back again'} after {subject.done}"
        elif kind == "container" and name in there[kind] and not subject.flying:
            yield from _unlike(name, subject)


def _unlike(name: str, subject: Told) -> Iterable[str]:
    shown = get(f"/containers/{name}/json")
    policy = shown["HostConfig"]["RestartPolicy"]["Name"]
    (cable,) = shown["NetworkSettings"]["Networks"].values()
    if policy != subject.facts["policy"]:
        yield f"container {name}: policy {policy}, not {subject.facts['policy']}"
    if shown["State"]["Running"] != should_run(subject):
        yield f"container {name}: {shown['State']['Status']} with policy {policy} after {subject.done}"
    elif shown["State"]["Running"] and "address" in subject.facts and cable["IPAddress"] != subject.facts["address"]:
        yield f"container {name}: address {cable['IPAddress']}, not {subject.facts['address']}"


def should_run(subject: Told) -> bool:
    """Docker's rules for a daemon that starts; `always` comes back though it was stopped."""
    policy = subject.facts["policy"]
    return "start" in subject.done and (
        policy == "always" or (policy == "unless-stopped" and "stop" not in subject.done)
    )


def settled(told: dict[tuple[str, str], Told]) -> bool:
    """Policies have brought back what they bring back, and removals are carried through."""
    states = {c["Names"][0][1:]: c["State"] for c in get("/containers/json?all=1")}
    wanted = [
        n for (kind, n), t in told.items() if kind == "container" and t.is_there and not t.flying and should_run(t)
    ]
    return all(states.get(n, "running") == "running" for n in wanted) and "removing" not in states.values()


def broken() -> Iterable[str]:
    database = sqlite3.connect(f"file:{ROOT}/hawse.db?mode=ro", uri=True)
    if (verdict := database.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        yield f"database: {verdict}"
    audit = subprocess.run(["hawse", "audit"], capture_output=True, text=True, check=False)
    if audit.returncode:
        yield f"audit: {audit.stdout.strip()[:500]}{audit.stderr.strip()[:500]}"
    containers = get("/containers/json?all=1")
    for container in containers:
        if container["State"] == "created":  # perhaps cut off behind its first transaction: its start makes the rest
            call("POST", f"/containers/{container['Id']}/start")
    images = [get(f"/images/{i['Id']}/json") for i in get("/images/json")]
    layers = {layer.removeprefix("sha256:") for image in images for layer in image["RootFS"]["Layers"]}
    volumes = {v["Name"] for v in get("/volumes")["Volumes"]}
    for directory, known in (("containers", {c["Id"] for c in containers}), ("layers", layers), ("volumes", volumes)):
        found = {path.name.removeprefix("sha256:") for path in (ROOT / directory).iterdir() if path.name != ".filling"}
        yield from (f"{directory}/{name}: of nobody" for name in found - known)
        yield from (f"{directory}/{name}: is missing" for name in known - found)
    addresses = Counter(
        n["IPAddress"] for c in containers for n in c["NetworkSettings"]["Networks"].values() if n["IPAddress"]
    )
    yield from (f"address {address}: {count} times" for address, count in addresses.items() if count > 1)
    (base,) = (image for image in images if "busybox:latest" in image["RepoTags"])
    etc = _layer(base["RootFS"]["Layers"][0]) / "etc"
    for image in images:
        yield from (f"image {tag}: {what}" for tag in image["RepoTags"] for what in _damage(tag, image))
    for volume in volumes:
        for file in etc.iterdir():
            copy = ROOT / "volumes" / volume / file.name
            # The daemon writes some of them anew for each container, over the volume.
            if file.is_file() and (not copy.exists() or (copy.stat().st_size == 0) != (file.stat().st_size == 0)):
                yield f"volume {volume}: {file.name} is {'empty' if copy.exists() else 'missing'}"


def _layer(layer: str) -> Path:
    found = [
        path for path in (ROOT / "layers" / layer, ROOT / "layers" / layer.removeprefix("sha256:")) if path.is_dir()
    ]
    return found[0] if found else ROOT / "layers" / layer


def _damage(tag: str, image: dict[str, Any]) -> Iterable[str]:
    name, top = tag.removesuffix(":latest"), _layer(image["RootFS"]["Layers"][-1])
    if name.startswith("f-"):
        wrong = [n for n in range(FILES) if not _is(top / "data" / str(n), content(name, n))]
        if wrong:
            yield f"{len(wrong)} of {FILES} files are damaged"
    elif name.startswith("i-") and (top / "mine").exists() and not _is(top / "mine", f"{name[2:]}\n".encode()):
        yield "/mine is damaged"


def _is(path: Path, wanted: bytes) -> bool:
    return path.exists() and path.read_bytes() == wanted


def main() -> None:
    begun = time.monotonic()
    told, count = read(Path(sys.argv[1]))
    verdict: dict[str, Any] = {"answers": count, "lost": [], "broken": []}
    if until(answers):
        verdict["up_after"] = round(time.monotonic() - begun, 1)
        until(lambda: settled(told))
        verdict |= {"lost": list(lost(told)), "broken": list(broken())}
    else:
        verdict["broken"] = ["the daemon does not answer"]
    sys.stdout.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
