"""The storm: workers who use the daemon, a killer who kills it and its helpers, a vandal who breaks its network.

Threads of this process, all against one lab.  What each of them chooses follows from the seed; when it happens to whom is up
to the machine, so that the same seed gives the same kind of weather and not the same storm.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE

PORTS = 20_000
NETWORK = "storm"
EXPECTED = (200, 201, 202, 204, 304, 404, 409)
"""What a daemon may answer to somebody who does not know what the others do."""


class Storm:
    """`run` it once; then the counters tell what happened."""

    def __init__(self, lab: Lab, seed: int, workers: int) -> None:
        self.lab = lab
        self.done: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.damaged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._people: list[Callable[[], None]] = [
            *(Worker(self, i, random.Random(f"{seed} worker {i}")).run for i in range(workers)),
            Killer(self, random.Random(f"{seed} killer")).run,
            Vandal(self, random.Random(f"{seed} vandal")).run,
        ]

    def run(self, seconds: float) -> None:
        """Let it rage, and leave a living daemon."""
        self.request("POST", "/networks/create", {"Name": NETWORK})
        nurse = threading.Thread(target=self._guarded, args=(self._nurse,), daemon=True)
        people = [threading.Thread(target=self._guarded, args=(person,), daemon=True) for person in self._people]
        for thread in (nurse, *people):
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in (*people, nurse):
            thread.join(2 * PATIENCE)  # somebody may just have begun to wait for an answer
            if thread.is_alive():
                self.wrong.append("somebody does not come to an end")
        self._revive()

    def pause(self, seconds: float) -> bool:
        """Wait; whether it goes on after."""
        return not self._over.wait(seconds)

    def count(self, what: Counter[str], key: str) -> None:
        with self._lock:
            what[key] += 1

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """(status, JSON); status 0 when the daemon died under it or is not there."""
        try:
            status, answer = self.lab.daemon.request(method, path, body)
        except TimeoutError:
            self.wrong.append(f"no answer in {PATIENCE:.0f} s: {method} {path}")
            return 0, None
        except (ConnectionRefusedError, FileNotFoundError):
            self.count(self.done, "requests while there was no daemon")
            self.pause(0.1)
            return 0, None
        except (OSError, http.client.HTTPException):
            self.count(self.done, "requests cut off")
            return 0, None
        self.count(self.done, "requests answered")
        shown = _json(answer)
        if status not in EXPECTED:
            self.count(self.refused, f"{status} {shown.get('message', '') if isinstance(shown, dict) else ''}"[:200])
        return status, shown

    def _guarded(self, person: Callable[[], None]) -> None:
        try:
            person()
        except Exception as e:
            self.wrong.append(f"{type(e).__name__}: {e}"[:1000])
            self._over.set()

    def _nurse(self) -> None:
        """Do what systemd does: start it again."""
        while self.pause(0.02):
            if self.lab.daemon.ended is not None:
                self._revive()

    def _revive(self) -> None:
        while not self.lab.daemon.answers():
            ended = self.lab.daemon.ended
            if ended is None:
                time.sleep(0.02)
                continue
            if ended not in (1, -signal.SIGKILL):  # 1: its spawner was killed
                self.wrong.append(f"the daemon ended with {ended}")
            begun = time.monotonic()
            self.lab.daemon.launch()
            while self.lab.daemon.ended is None and not self.lab.daemon.answers():
                if time.monotonic() - begun > PATIENCE:
                    raise AssertionError(f"the daemon does not answer {PATIENCE:.0f} s after its start")
                time.sleep(0.01)


class Worker:
    """Makes containers of its own and does to them what users do."""

    def __init__(self, storm: Storm, number: int, chance: random.Random) -> None:
        self._storm, self._number, self._chance = storm, number, chance
        self._names: dict[str, int] = {}  # name → published port
        self._made = 0

    def run(self) -> None:
        acts = (self._make, self._start, self._end, self._restart, self._remove, self._visit, self._look, self._network)
        while self._storm.pause(self._chance.uniform(0, 0.05)):
            if not self._names:
                self._make()
            else:
                self._chance.choices(acts, weights=(5, 2, 3, 1, 4, 4, 1, 1))[0]()

    def _make(self) -> None:
        if len(self._names) >= 5:
            self._remove()
            return
        self._made += 1
        name, port = f"w{self._number}-{self._made}", PORTS + 100 * self._number + self._made % 100
        chance, network = self._chance, self._chance.choices((NETWORK, "bridge", "none"), (5, 2, 1))[0]
        command = chance.choices(
            (
                ["httpd", "-f", "-p", "80", "-h", "/www"],
                ["sleep", "1000"],
                ["sh", "-c", f"sleep {chance.uniform(0, 0.3):.2f}; exit {chance.randrange(3)}"],
                ["/no/such/program"],
            ),
            (6, 2, 3, 1),
        )[0]
        host: dict[str, Any] = {"NetworkMode": network, "AutoRemove": chance.random() < 0.25}
        if network != "none":
            host["PortBindings"] = {"80/tcp": [{"HostPort": str(port)}]}
        if not host["AutoRemove"] and chance.random() < 0.3:
            host["RestartPolicy"] = {"Name": "on-failure", "MaximumRetryCount": 3}
        body = {"Image": "busybox", "Cmd": command, "HostConfig": host}
        status, _ = self._storm.request("POST", f"/containers/create?name={name}", body)
        self._names[name] = port if command[0] == "httpd" and network != "none" else 0
        if status == 201:
            self._storm.count(self._storm.done, "containers made")
        self._storm.request("POST", f"/containers/{name}/start")

    def _start(self) -> None:
        self._storm.request("POST", f"/containers/{self._any()}/start")

    def _end(self) -> None:
        how = self._chance.choice(("kill", "stop?t=0", "stop?t=1"))
        self._storm.request("POST", f"/containers/{self._any()}/{how}")

    def _restart(self) -> None:
        self._storm.request("POST", f"/containers/{self._any()}/restart?t=0")

    def _remove(self) -> None:
        name = self._any()
        status, _ = self._storm.request("DELETE", f"/containers/{name}?force=1")
        if status in (204, 404):
            del self._names[name]

    def _visit(self) -> None:
        port = self._names[self._any()]
        if port:
            reached = self._storm.lab.client.reaches(HOST, port, timeout=0.5)
            self._storm.count(self._storm.done, "visits that reached a server" if reached else "visits in vain")

    def _look(self) -> None:
        self._storm.request("GET", "/containers/json?all=1")

    def _network(self) -> None:
        name = f"net{self._number}"
        if self._storm.request("POST", "/networks/create", {"Name": name})[0] == 409:
            self._storm.request("DELETE", f"/networks/{name}")

    def _any(self) -> str:
        return self._chance.choice(sorted(self._names))


class Killer:
    """SIGKILL to whoever keeps things going."""

    def __init__(self, storm: Storm, chance: random.Random) -> None:
        self._storm, self._chance = storm, chance

    def run(self) -> None:
        kinds = ("daemon", "spawner", "shim", "program")
        while self._storm.pause(min(3, self._chance.expovariate(1.5))):
            kind = self._chance.choices(kinds, (4, 1, 4, 4))[0]
            if kind == "daemon":
                hit = self._storm.lab.daemon.ended is None
                self._storm.lab.daemon.strike()
            else:
                there = sorted(people(self._storm.lab, kind))
                hit = bool(there) and strike(self._chance.choice(there))
            if hit:
                self._storm.count(self._storm.killed, kind)


def people(lab: Lab, kind: str) -> Iterator[Path]:
    """Directories in the lab's /proc of all spawners, shims, or first processes of containers."""
    shims, parents = set(), {}
    for path in (lab.inside / "proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(") ")
        except OSError:
            continue  # it has just ended
        if name == f"hawse-{kind}":
            yield path
        if name == "hawse-shim":
            shims.add(path.name)
        elif name != "hawse-midwife":
            parents[path] = rest.split()[1]
    if kind == "program":
        yield from (path for path, parent in parents.items() if parent in shims)


def strike(process: Path) -> bool:
    """SIGKILL by way of the directory in /proc, which stays the one process's."""
    try:
        fd = os.open(process, os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


class Vandal:
    """Damages the network the way other tools and people do."""

    def __init__(self, storm: Storm, chance: random.Random) -> None:
        self._storm, self._chance = storm, chance

    def run(self) -> None:
        while self._storm.pause(min(6, self._chance.expovariate(0.8))):
            links = json.loads(self._storm.lab.run(["ip", "-j", "link"], check=False).out or "[]")
            bridges = sorted({link["master"] for link in links if "master" in link})
            cables = sorted(link["ifname"] for link in links if "master" in link)
            damage: list[list[str]] = [["nft", "flush", "ruleset"], ["sysctl", "-qw", "net.ipv4.ip_forward=0"]]
            damage.append(["nft", "delete", "table", "inet", f"hawse_{self._storm.lab.instance}"])
            if cables:
                cable, bridge = self._chance.choice(cables), self._chance.choice(bridges)
                damage += [["ip", "link", "del", cable], ["ip", "link", "set", cable, "nomaster"]]
                damage += [["ip", "link", "set", cable, "down"], ["ip", "link", "set", bridge, "down"]]
                damage += [["ip", "link", "del", bridge], ["ip", "addr", "flush", "dev", bridge]]
            chosen = self._chance.choice(damage)
            if self._storm.lab.run(chosen, check=False).code == 0:
                words = ["CABLE" if w in cables else "BRIDGE" if w in bridges else w for w in chosen]
                self._storm.count(self._storm.damaged, " ".join(words).replace(f"_{self._storm.lab.instance}", ""))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return None
