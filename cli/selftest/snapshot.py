"""The leak check: everything that a container could leave behind, as multisets of readable lines, and their difference.

Links, addresses, routes, nftables objects, mounts, cgroups, processes, files, the daemon's descriptors and the rows of
its database.  What may differ between two looks at an unchanged world (counters, handles, inode numbers, ports chosen by
the kernel) is left out.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hawse.cli.selftest.daemon import Daemon
from hawse.cli.selftest.world import World

NUMBER = re.compile(r"\b\d+\b")
FILE_DEPTH = 3  # below the state directory; deeper is inside a container's or layer's own directory
KEEPERS = 3  # the spawner, the shim that it has forked ahead of time, and that one's midwife
HISTORY_TABLES = ("events", "epochs", "handlers", "meta", "tombstones", "hook_runs", "sqlite")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Kind ("link", "route", ...) → how often each line was seen."""

    facts: dict[str, Counter[str]]

    @property
    def is_at_rest(self) -> bool:
        """No container is there, none is on its way out, and the spawner, if there is one, has the next shim ready."""
        if self.facts["cgroup"] or any(
            self.facts["record"][f"row in {table}"] for table in ("containers", "endpoints")
        ):
            return False
        commands = self.facts["process"]
        keepers = sum(count for command, count in commands.items() if " -c import sys" in command)
        return keepers in (0, KEEPERS) and not any(command.startswith("zombie ") for command in commands)

    def difference(self, before: Snapshot) -> list[str]:
        """Lines like "+ link veth0 ..." (left behind) and "- route ..." (lost), empty when nothing differs."""
        lines = []
        for kind, now in self.facts.items():
            then = before.facts.get(kind, Counter())
            lines += [f"+ {kind} {line}" for line in sorted((now - then).elements())]
            if kind != "descriptor":  # a restarted daemon has not yet opened what the last one had
                lines += [f"- {kind} {line}" for line in sorted((then - now).elements())]
        return lines


def take(world: World, daemon: Daemon) -> Snapshot:
    """Look at everything.  Costs about 30 ms."""
    facts = {
        "link": links(world),
        "address": addresses(world),
        "route": routes(world),
        "nft": ruleset(world),
        "cgroup": cgroups(f"hawse_{world.instance}"),
        "file": files(world.root, FILE_DEPTH) + files(world.inside / "run", 9) + files(world.inside / "tmp", 2),
        "record": records(world.root),
    }
    processes, descriptors = Counter[str](), Counter[str]()
    mounts = mount_table(world.inside / "proc/1", "host")
    try:
        pid = pid_inside(daemon.pid)
    except OSError:
        pid = -1
    for path, state, parent, command in everybody(world):
        processes[f"{'zombie ' if state == 'Z' else ''}{command}"] += 1
        if pid in (int(path.name), parent) and state != "Z":  # it and its child, the spawner
            try:
                mounts += mount_table(path, "daemon")
                descriptors += open_files(path)
            except OSError:
                continue  # it has just ended
    return Snapshot({**facts, "process": processes, "mount": mounts, "descriptor": descriptors})


def links(world: World) -> Counter[str]:
    shown = json.loads(world.run(["ip", "-j", "-d", "link"]).out)
    return Counter(
        f"{x['ifname']} {x.get('linkinfo', {}).get('info_kind', 'device')}"
        f" master={x.get('master', '-')} alias={x.get('ifalias', '-')} {'up' if 'UP' in x['flags'] else 'down'}"
        for x in shown
    )


def addresses(world: World) -> Counter[str]:
    shown = json.loads(world.run(["ip", "-j", "addr"]).out)
    return Counter(f"{x['ifname']} {a['local']}/{a['prefixlen']}" for x in shown for a in x["addr_info"])


def routes(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for family in ("-4", "-6"):
        for x in json.loads(world.run(["ip", family, "-j", "route", "show", "table", "all"]).out or "[]"):
            keys = ("type", "dst", "gateway", "dev", "prefsrc", "metric", "table")
            found[" ".join(f"{k}={x[k]}" for k in keys if k in x)] += 1
    return found


def ruleset(world: World) -> Counter[str]:
    """Every nftables object on a line of its own, the elements of sets and maps included, without handles and counters."""
    found: Counter[str] = Counter()
    for item in json.loads(world.run(["nft", "--stateless", "--json", "list", "ruleset"]).out)["nftables"]:
        for kind, body in item.items():
            if kind == "metainfo":
                continue
            elements = body.pop("elem", []) if kind in ("set", "map") else []
            found[f"{kind} {compact(body)}"] += 1
            for element in elements:
                found[f"element of {body['table']} {body['name']}: {compact(element)}"] += 1
    return found


def compact(value: Any) -> str:
    """Return one line of JSON without what the kernel counts on its own."""

    def bare(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: bare(v) for k, v in x.items() if k not in ("handle", "expires", "packets", "bytes")}
        return [bare(v) for v in x] if isinstance(x, list) else x

    return json.dumps(bare(value), sort_keys=True, separators=(",", ":"))


def cgroups(name: str) -> Counter[str]:
    """Directories below the instance's own cgroup; that itself may stay, and so may the place of its shims."""
    found: Counter[str] = Counter()
    hierarchies = Path("/sys/fs/cgroup")
    for top in (*hierarchies.glob(f"*/{name}"), hierarchies / name):
        for directory, _, _ in os.walk(top):
            if directory not in (str(top), f"{top}/shims"):
                found[directory] += 1
    return found


def files(top: Path, depth: int) -> Counter[str]:
    """Names below `top`, at most `depth` levels; SQLite's own side files come and go, compiled filters are a cache."""
    found: Counter[str] = Counter()
    for directory, directories, names in os.walk(top):
        here = Path(directory)
        if len(here.relative_to(top).parts) >= depth - 1:
            found.update(f"{here / d}/" for d in directories)
            directories.clear()
        found.update(str(here / n) for n in names if not n.endswith(("-wal", "-shm", "-journal", ".bpf")))
        found[f"{here}/"] += 1
    return found


def everybody(world: World) -> list[tuple[Path, str, int, str]]:
    """(directory in the lab's /proc, state, parent, command) of every process but the holder, containers' included."""
    found = []
    for path in (world.inside / "proc").iterdir():
        if not path.name.isdigit() or path.name == "1":
            continue
        try:
            state, parent, *_ = (path / "stat").read_text().rpartition(") ")[2].split()
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            name = command[:160] or (path / "comm").read_text().strip()
        except OSError:
            continue  # it has just ended
        found.append((path, state, int(parent), NUMBER.sub("N", name)))
    return found


def pid_inside(pid: int) -> int:
    """A process's number in the lab, from the one out here (NSpid in proc(5) lists them from the reader's inwards)."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].split()[1])


def mount_table(process: Path, where: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in (process / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, root, target, options, *_ = left.split()
        found[f"{where}: {target} {options} {' '.join(right.split()[:2])} {root}"] += 1
    return found


def open_files(process: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    known = sockets(process / "net")
    for fd in (process / "fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue  # closed meanwhile
        found[known.get(target) or NUMBER.sub("N", target)] += 1
    return found


def sockets(net: Path) -> dict[str, str]:
    """Link in /proc/PID/fd → what the socket is: "unix 0005 /run/x", "netlink 12"; internet sockets are left out."""
    found = {}
    for line in (net / "unix").read_text().splitlines()[1:]:
        _, _, _, _, kind, _, inode, *path = line.split()
        found[f"socket:[{inode}]"] = " ".join(["unix", kind, *path])
    for line in (net / "netlink").read_text().splitlines()[1:]:
        _, protocol, *_, inode = line.split()
        found[f"socket:[{inode}]"] = f"netlink {protocol}"
    return found


def records(root: Path) -> Counter[str]:
    """Rows per table of the daemon's database, except the tables that are history."""
    found: Counter[str] = Counter()
    for path in root.glob("*.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            for table in tables:
                if not table.startswith(HISTORY_TABLES):
                    found[f"row in {table}"] = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
    return found
