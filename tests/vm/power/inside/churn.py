"""Runs inside a machine until the power goes: four workers make, start, stop and remove containers, volumes, networks and
images.  Every request, before and after its answer, is a line of a file outside, which outlives the power cut.

    python3 -m tests.vm.power.inside.churn FILE SEED
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tarfile
import threading
from typing import Any

from tests.vm.power.inside.api import call, get

WORKERS = 4
POLICIES = ("no", "always", "unless-stopped", "on-failure")
FILES = 120
"""Of an imported image; each says whose it is."""


class Notes:
    """One line, a JSON object, for each thing that was asked or answered."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, **line: Any) -> None:
        os.write(self._fd, (json.dumps(line) + "\n").encode())

    def ask(self, verb: str, kind: str, name: str, method: str, path: str, body: object = None, **more: Any) -> bool:
        """Whether it was done; what is more in the line is what has to be found again."""
        self.write(verb=verb, kind=kind, name=name, answered=False)
        status, said = call(method, path, body)
        done = status in (200, 201, 204)
        told = {} if done else {"said": said.decode(errors="replace")[:300]}
        self.write(verb=verb, kind=kind, name=name, answered=True, status=status, **more, **told)
        return done


def content(name: str, number: int) -> bytes:
    return f"{name} {number}\n".encode() * 40


def archive(name: str) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"data/{number}")
            entry.size = len(content(name, number))
            tar.addfile(entry, io.BytesIO(content(name, number)))
    return raw.getvalue()


def container(name: str, network: str, policy: str) -> dict[str, Any]:
    return {
        "Image": "busybox",
        "Cmd": ["sh", "-c", f"echo {name} >/mine; exec sleep 100000"],
        "HostConfig": {"Binds": [f"v-{name}:/etc"], "NetworkMode": network, "RestartPolicy": {"Name": policy}},
    }


def life(notes: Notes, name: str, choose: random.Random) -> None:
    """One container's, with what may come beside it."""
    network, policy = "bridge", choose.choice(POLICIES)
    if choose.random() < 0.3 and notes.ask(
        "create", "network", f"n-{name}", "POST", "/networks/create", {"Name": f"n-{name}"}
    ):
        network = f"n-{name}"
    body = container(name, network, policy)
    if not notes.ask("create", "container", name, "POST", f"/containers/create?name={name}", body, policy=policy):
        return
    if choose.random() < 0.8 and notes.ask("start", "container", name, "POST", f"/containers/{name}/start"):
        (cable,) = get(f"/containers/{name}/json")["NetworkSettings"]["Networks"].values()
        notes.write(verb="address", kind="container", name=name, answered=True, status=200, address=cable["IPAddress"])
    if choose.random() < 0.3:
        notes.ask("create", "image", f"i-{name}", "POST", f"/commit?container={name}&repo=i-{name}&pause=false")
    if choose.random() < 0.3:
        notes.ask(
            "create", "image", f"f-{name}", "POST", f"/images/create?fromSrc=-&repo=f-{name}", archive(f"f-{name}")
        )
        if choose.random() < 0.3:
            notes.ask("rm", "image", f"f-{name}", "DELETE", f"/images/f-{name}")
    if choose.random() < 0.3:
        notes.ask("stop", "container", name, "POST", f"/containers/{name}/stop?t=0")
    if choose.random() < 0.6 and notes.ask("rm", "container", name, "DELETE", f"/containers/{name}?force=1"):
        notes.ask("rm", "volume", f"v-{name}", "DELETE", f"/volumes/v-{name}")
        if network != "bridge":
            notes.ask("rm", "network", network, "DELETE", f"/networks/{network}")


def work(notes: Notes, number: int, seed: int) -> None:
    choose = random.Random(seed * 100 + number)
    for turn in range(10_000):
        life(notes, f"w{number}x{seed}x{turn}", choose)


if __name__ == "__main__":
    notes = Notes(sys.argv[1])
    if os.fork():
        sys.exit()  # whoever started us goes on
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(f"{sys.argv[1]}.log", os.O_WRONLY | os.O_CREAT), stream)
    for number in range(WORKERS):
        threading.Thread(target=work, args=(notes, number, int(sys.argv[2]))).start()
