"""The measuring hand inside a world: reads requests, one JSON object a line, answers samples.  Standard library only.

    python3 -m tests.bench.inside ENGINE DATA ARCHIVE

One of these runs in every world, so every engine is timed by the same code from the same distance: the wall time of a
command is taken around posix_spawn and waitpid, the time of an API call around the request.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench.engines import ENGINES, IMAGE, Api, Engine, run

Samples = list[float]


class Hand:
    """The operations; every public method is one that a request can name."""

    def __init__(self, engine: Engine, archive: str) -> None:
        self.engine = engine
        self.archive = archive
        self._serial = 0

    def about(self) -> str:
        return self.engine.describe()

    def command(self, argv: list[str], count: int, own: bool = True) -> Samples:
        """Wall milliseconds of `count` runs of one of the engine's verbs (own=False: of any program)."""
        full = [*self.engine.cli, *argv] if own else argv
        return [self._time(full) for _ in range(count)]

    def run_detached(self, port: int, count: int) -> dict[str, Samples]:
        """`run -d -p` of a program that stays, and `rm -f` of it."""
        started, removed = [], []
        for _ in range(count):
            name = self._name()
            started.append(
                self._time(
                    [*self.engine.cli, "run", "-d", "--name", name, "-p", f"{port}:80", "bench", "probe", "hold"]
                )
            )
            removed.append(self._time([*self.engine.cli, *self.engine.remove, name]))
        return {"run": started, "rm": removed}

    def execute(self, count: int) -> Samples:
        """`exec C true` in a container that runs."""
        name = self._name()
        run([*self.engine.cli, "run", "-d", "--name", name, "bench", "probe", "hold"])
        try:
            return self.command(["exec", name, "true"], count)
        finally:
            run([*self.engine.cli, *self.engine.remove, name])

    def first_instruction(self, port: int | None, network: str, count: int) -> dict[str, Samples]:
        """From sending the start request to the program's first instruction, and to the request's answer.

        The program writes CLOCK_MONOTONIC, which namespaces share, as its first act; the log carries it here.
        """
        api = self.engine.api()
        out: dict[str, Samples] = {"first": [], "answer": []}
        for _ in range(count):
            name = self._name()
            self.engine.create(api, name, ["probe", "hold", "stamp"], port, network)
            begun = time.monotonic_ns()
            api.call("POST", f"/containers/{name}/start")
            out["answer"].append((time.monotonic_ns() - begun) / 1e6)
            stamp = self._stamp(name)
            out["first"].append((stamp - begun) / 1e6)
            if self.engine.name == "hawse":
                for stage, microseconds in self._stages(api, name).items():
                    out.setdefault(f"stage {stage}", []).append(microseconds / 1e3)
            api.call("DELETE", f"/containers/{name}?force=1")
            time.sleep(0.05)  # the dying namespace's RCU grace periods belong to the one before
        return out

    def start_many(self, count: int, parallel: int, base_port: int) -> dict[str, Any]:
        """Create and start `count` containers with a published port each; the first and the last one serve."""
        local = threading.local()
        each: Samples = []

        def one(number: int) -> None:
            if not hasattr(local, "api"):
                local.api = self.engine.api()
            command = ["probe", "serve", "80"] if number in (0, count - 1) else ["probe", "hold"]
            begun = time.perf_counter()
            identity = self.engine.create(local.api, f"many{number}", command, base_port + number)
            local.api.call("POST", f"/containers/{identity}/start")
            each.append((time.perf_counter() - begun) * 1e3)

        begun = time.perf_counter()
        with ThreadPoolExecutor(parallel) as pool:
            for _ in pool.map(one, range(count)):
                pass
        return {"seconds": time.perf_counter() - begun, "each": each}

    def remove_many(self, count: int) -> float:
        """Seconds of one `rm -f` of them all."""
        names = [f"many{number}" for number in range(count)]
        return self._time([*self.engine.cli, *self.engine.remove, *names]) / 1e3

    def churn(self, count: int, parallel: int) -> dict[str, Any]:
        """Create, start and remove `count` containers, `parallel` at a time; the server's memory and descriptors before
        and after say whether anything stays behind."""
        before = self._server()
        local = threading.local()

        def life(number: int) -> None:
            if not hasattr(local, "api"):
                local.api = self.engine.api()
            identity = self.engine.create(local.api, f"churn{number}", ["probe", "hold"], 30_000 + number)
            local.api.call("POST", f"/containers/{identity}/start")
            local.api.call("DELETE", f"/containers/{identity}?force=1")

        begun = time.perf_counter()
        with ThreadPoolExecutor(parallel) as pool:
            for _ in pool.map(life, range(count)):
                pass
        seconds = time.perf_counter() - begun
        self.settle()
        return {"seconds": seconds, "before": before, "after": self._server()}

    def flood(self, megabytes: int) -> dict[str, float]:
        """A program that writes as fast as it is let: megabytes a second into the log, and what that costs the server."""
        api, name = self.engine.api(), self._name()
        command = f"busybox yes 0123456789012345678901234567890 | busybox head -c {megabytes}000000"
        self.engine.create(api, name, ["sh", "-c", command])
        before, begun = self._server(), time.perf_counter()
        api.call("POST", f"/containers/{name}/start")
        api.call("POST", f"/containers/{name}/wait")
        seconds = time.perf_counter() - begun
        after = self._server()
        api.call("DELETE", f"/containers/{name}?force=1")
        return {"rate": megabytes / seconds, "server": (after["cpu"] - before["cpu"]) * 100 / megabytes}

    def publish(self, count: int, base_port: int) -> float:
        """One more container with `count` ports, none of them a range; seconds of its start."""
        api = self.engine.api()
        bindings = [{"HostPort": str(base_port + number)} for number in range(count)]
        body = {
            "Image": IMAGE,
            "Cmd": ["probe", "serve", "80"],
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"PortBindings": {"80/tcp": bindings}},
        }
        api.call("POST", "/containers/create?name=published", body)
        begun = time.perf_counter()
        api.call("POST", "/containers/published/start")
        return time.perf_counter() - begun

    def kill_to_event(self, count: int) -> Samples:
        """Milliseconds from SIGKILL of a container's first process to its `die` at a subscriber."""
        api, name = self.engine.api(), self._name()
        arrived: list[int] = []
        news = threading.Condition()
        self.engine.create(api, name, ["probe", "hold"], port=18_099)
        samples: Samples = []
        with self.engine.events() as stream:

            def follow() -> None:
                for event in stream:
                    at = time.perf_counter_ns()
                    if str(event.get("Action", event.get("status"))).startswith("die"):
                        with news:
                            arrived.append(at)
                            news.notify()

            reader = threading.Thread(target=follow, daemon=True)
            reader.start()
            for number in range(count):
                api.call("POST", f"/containers/{name}/start")
                pid = api.call("GET", f"/containers/{name}/json")["State"]["Pid"]
                time.sleep(0.1)
                begun = time.perf_counter_ns()
                os.kill(pid, signal.SIGKILL)
                with news:
                    if not news.wait_for(lambda want=number: len(arrived) > want, 10):  # type: ignore[misc]
                        raise RuntimeError("no die event within 10 s")
                samples.append((arrived[number] - begun) / 1e6)
                deadline = time.monotonic() + 10
                while api.call("GET", f"/containers/{name}/json")["State"]["Running"]:
                    if time.monotonic() > deadline:
                        raise RuntimeError("still running 10 s after its die event")
                    time.sleep(0.02)
        api.call("DELETE", f"/containers/{name}?force=1")
        reader.join(5)
        return samples

    def api_round_trip(self, path: str, count: int) -> Samples:
        """Milliseconds of GETs on a kept connection."""
        api = self.engine.api()
        samples = []
        for _ in range(count):
            begun = time.perf_counter()
            api.call("GET", path)
            samples.append((time.perf_counter() - begun) * 1e3)
        return samples

    def runtimes(self, count: int) -> dict[str, Samples]:
        """`crun run` and `runc run` of `true` in a fresh bundle: an OCI runtime with no engine and no network around it."""
        found = {}
        for runtime in filter(shutil.which, ("crun", "runc")):
            with tempfile.TemporaryDirectory(dir="/run") as bundle:
                run([runtime, "spec", "--bundle", bundle])
                config = json.loads(Path(bundle, "config.json").read_text())
                config["process"].update(terminal=False, args=["true"], rlimits=[])
                config["root"] = {"path": "rootfs", "readonly": True}
                Path(bundle, "config.json").write_text(json.dumps(config))
                with tarfile.open(self.archive) as tar:
                    tar.extractall(f"{bundle}/rootfs", filter="tar")
                argv = [runtime, "run", "--bundle", bundle]
                found[f"{runtime} run"] = [self._time([*argv, self._name()]) for _ in range(count)]
        return found

    def memory(self) -> dict[str, dict[str, int]]:
        """PSS (KiB) of the engine's own processes by role, private part beside it; the containers' own do not count."""
        roles: dict[str, dict[str, int]] = {}
        for pid, role in engine_processes(self.engine):
            with suppress(OSError):
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    text = file.read()
                pss, clean, dirty = (
                    int(m[1]) if (m := re.search(rf"^{key}:\s+(\d+)", text, re.M)) else 0
                    for key in ("Pss", "Private_Clean", "Private_Dirty")
                )
                total = roles.setdefault(role, {"count": 0, "pss": 0, "private": 0})
                total["count"] += 1
                total["pss"] += pss
                total["private"] += clean + dirty
        return roles

    def rules(self) -> dict[str, int]:
        """How much nftables holds in this network namespace: lines as `nft list ruleset` prints them, rules, elements."""
        objects = json.loads(run(["nft", "-j", "list", "ruleset"]))["nftables"]
        sets = [body for o in objects for kind, body in o.items() if kind in ("set", "map")]
        return {
            "lines": len(run(["nft", "list", "ruleset"]).splitlines()),
            "rules": sum("rule" in o for o in objects),
            "elements": sum(len(s.get("elem", [])) for s in sets),
        }

    def settle(self, limit: float = 20) -> float:
        """Wait until no veth of a removed container is left and the load of the clean-up is over; seconds waited."""
        begun = time.monotonic()
        while time.monotonic() < begun + limit:
            with open("/proc/net/dev") as file:
                if not any(line.lstrip().startswith(("veth", "h-", "v-")) for line in file):
                    break
            time.sleep(0.05)
        time.sleep(0.3)
        return time.monotonic() - begun

    def stop(self) -> None:
        self.engine.stop()

    def _server(self) -> dict[str, int]:
        """Of the server's process alone: PSS in KiB, open descriptors, CPU time in ms."""
        assert self.engine.child
        pid = self.engine.child.pid
        with open(f"/proc/{pid}/smaps_rollup") as file:
            pss = re.search(r"^Pss:\s+(\d+)", file.read(), re.M)
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return {
            "pss": int(pss[1]) if pss else 0,
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "cpu": ticks * 1000 // os.sysconf("SC_CLK_TCK"),
        }

    def _name(self) -> str:
        self._serial += 1
        return f"b{self._serial}"

    def _stages(self, api: Api, name: str) -> dict[str, int]:
        """What hawse itself recorded of the last start, in microseconds."""
        stages: dict[str, int] = api.call("GET", f"/hawse/v1/containers/{name}")["container"]["stages"]
        return stages

    def _stamp(self, name: str) -> int:
        deadline = time.monotonic() + 10
        api = self.engine.api()
        while time.monotonic() < deadline:
            text = api.call("GET", f"/containers/{name}/logs?stdout=1")
            if isinstance(text, bytes) and (found := re.search(rb"(\d{9,})\n", text)):
                return int(found[1])
            time.sleep(0.01)
        raise RuntimeError(f"{name} never wrote its stamp")

    def _time(self, argv: list[str]) -> float:
        """Wall milliseconds of one command; its output is thrown away, its failure is not."""
        with open("/tmp/bench-stderr", "wb+") as errors:
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
            ]
            begun = time.perf_counter_ns()
            pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
            _, status = os.waitpid(pid, 0)
            took = (time.perf_counter_ns() - begun) / 1e6
            if status:
                errors.seek(0)
                words = errors.read()[-500:].decode(errors="replace")
                raise RuntimeError(f"{' '.join(argv)[:200]}: {os.waitstatus_to_exitcode(status)}: {words}")
        return took


def engine_processes(engine: Engine) -> list[tuple[int, str]]:
    """(pid, role) of every process that belongs to the engine and not to a container."""
    mine = os.readlink("/proc/self/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if os.readlink(f"/proc/{entry}/ns/pid") != mine:
                continue
            with open(f"/proc/{entry}/comm") as file:
                comm = file.read().strip()
            if engine.name == "hawse" and engine.child and int(entry) == engine.child.pid:
                found.append((int(entry), "daemon"))
            elif any(comm.startswith(name[:15]) for name in engine.processes):
                found.append((int(entry), comm))
    return found


def main() -> None:
    name, data, archive = sys.argv[1:]
    # answers have the pipe for themselves: whatever else writes to standard output goes to standard error
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = ENGINES[name](data)
    hand = Hand(engine, archive)
    try:
        engine.start(archive)
        answers.write(json.dumps({"ok": hand.about()}) + "\n")
        answers.flush()
        for line in sys.stdin:
            request = json.loads(line)
            method: Callable[..., Any] = getattr(hand, request["do"])
            try:
                answer = {"ok": method(**request.get("with", {}))}
            except Exception as e:
                traceback.print_exc()
                answer = {"error": str(e) or repr(e)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
