"""script/bench heal [--containers 0,1,10,100] [--rounds N] [--only TEXT]: how long damage to the network lasts, and a restart.

The damage is done by the programs that do it in life (nft, ip); the clock runs from their start, so some 3 ms of each figure
are theirs.  "page": until a client fetches a page through the published port of one of the containers.  "event": until the
last `network.repaired` of that damage is in the journal.  A restart is from the SIGKILL until the new daemon answers, while
a client connects to the published ports all through, one after the other.  `--only restart` leaves the damage out, any other
text does only the damages that have it in their name.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.story import head
from hawse.cli.selftest.waiting import eventually

PORTS = 21_000
CHAIN = "prerouting"  # what leads packets to published ports
QUIET = 0.3  # seconds without a repair after which all are counted


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench heal", description=__doc__.partition("\n")[0])
    parser.add_argument("--containers", type=lambda text: [int(n) for n in text.split(",")], default=[1, 10, 100])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default="", metavar="TEXT", help="restart, or a part of a damage's name")
    arguments = parser.parse_args()
    healed: dict[str, list[str]] = {}
    restarts: list[str] = []
    with Lab() as lab:
        (lab.state / "hawse.toml").write_text('bridge_subnet = "10.96.0.0/21"\n')  # room for a thousand
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        running = 0
        for number in sorted({0, *arguments.containers} if arguments.only in ("", "restart") else arguments.containers):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda i: serve(lab, i), range(running, number)))
            running = number
            if running:
                eventually(partial(fetched, lab, running - 1))
            if arguments.only in ("", "restart"):
                restarts.append(restart(lab, number, arguments.rounds))
            for name, command in damages(lab, running - 1) if running else []:
                if arguments.only in name:
                    healed.setdefault(name, []).append(heal(lab, running - 1, command, arguments.rounds))
    print("| damage | " + " | ".join(f"{n} running: page / event" for n in arguments.containers if n) + " |")
    print("|---|" + "---|" * sum(map(bool, arguments.containers)))
    for name, cells in healed.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n" + "\n".join(restarts))
    return 0


def serve(lab: Lab, index: int) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"],
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(PORTS + index)}]}},
    }
    status, answer = lab.daemon.request("POST", f"/containers/create?name=c{index}", body)
    assert status == 201, answer
    status, answer = lab.daemon.request("POST", f"/containers/c{index}/start")
    assert status == 204, answer


def fetched(lab: Lab, index: int) -> bool:
    try:
        return bool(lab.client.get(HOST, PORTS + index, "/index.html", timeout=0.01))
    except OSError:
        return False


def damages(lab: Lab, index: int) -> list[tuple[str, Callable[[], list[str]]]]:
    """What is done to the network of the container with that number."""
    table = ["inet", f"hawse_{lab.instance}"]
    port = f"{{ tcp . {PORTS + index} }}"

    def cable() -> str:
        with closing(sqlite3.connect(f"file:{lab.root / 'hawse.db'}?mode=ro", uri=True)) as database:
            query = "SELECT veth FROM endpoints JOIN containers ON id = container_id WHERE name = ?"
            return str(database.execute(query, (f"c{index}",)).fetchone()[0])

    def bridge() -> str:
        with closing(sqlite3.connect(f"file:{lab.root / 'hawse.db'}?mode=ro", uri=True)) as database:
            return str(database.execute("SELECT bridge FROM networks").fetchone()[0])

    return [
        ("nft flush ruleset", lambda: ["nft", "flush", "ruleset"]),
        ("nft delete table", lambda: ["nft", "delete", "table", *table]),
        ("ip link del CABLE", lambda: ["ip", "link", "del", cable()]),
        ("ip link set CABLE nomaster", lambda: ["ip", "link", "set", cable(), "nomaster"]),
        ("ip link set CABLE down", lambda: ["ip", "link", "set", cable(), "down"]),
        ("ip link set BRIDGE down", lambda: ["ip", "link", "set", bridge(), "down"]),
        ("ip addr flush dev BRIDGE", lambda: ["ip", "addr", "flush", "dev", bridge()]),
        ("ip link del BRIDGE", lambda: ["ip", "link", "del", bridge()]),
        ("ip route del SUBNET", lambda: ["ip", "route", "del", "10.96.0.0/21", "dev", bridge()]),
        ("nft delete element, a port", lambda: ["nft", "delete", "element", *table, "publish_any", port]),
        (
            "nft delete element, the bridge",
            lambda: ["nft", "delete", "element", *table, "bridges", f'{{ "{bridge()}" }}'],
        ),
        ("nft flush chain", lambda: ["nft", "flush", "chain", *table, CHAIN]),
        ("nft delete chain", lambda: ["nft", "flush", "chain", *table, CHAIN, ";", "delete", "chain", *table, CHAIN]),
        ("ip_forward = 0", lambda: ["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]),
    ]


def heal(lab: Lab, index: int, damage: Callable[[], list[str]], rounds: int) -> str:
    """Medians and worst in ms: "page 12 (30) / event 10 (25)"."""
    pages, events = [], []
    for number in range(rounds):
        if number % 2 == 0:  # a daemon that sees the same object broken again and again takes its time
            lab.daemon.kill9()
            lab.daemon.start()
        before = head(lab.root / "hawse.db")
        command = damage()
        begun, clock = time.monotonic(), time.time_ns()
        lab.run(command)
        while not fetched(lab, index):
            if time.monotonic() > begun + 30:
                return "not healed in 30 s"
        pages.append((time.monotonic() - begun) * 1e3)
        events.append((last_repair(lab, before) - clock) / 1e6)
    return f"{figure(pages)} / {figure(events)}"


def last_repair(lab: Lab, after: int) -> int:
    """When the last repair was written down, once there are no more."""
    query = "SELECT MAX(time) FROM events WHERE seq > ? AND type = 'network.repaired'"
    deadline = time.monotonic() + 10
    while True:
        with closing(sqlite3.connect(f"file:{lab.root / 'hawse.db'}?mode=ro", uri=True)) as database:
            (told,) = database.execute(query, (after,)).fetchone()
        if told is not None and time.time_ns() - told > QUIET * 1e9:
            return int(told)
        if time.monotonic() > deadline:
            raise AssertionError(f"no repair was told of after event {after}:\n{lab.daemon.log[-2000:]}")
        time.sleep(0.02)


def restart(lab: Lab, number: int, rounds: int) -> str:
    """The daemon killed and started again, with a client that never stops connecting."""
    over = threading.Event()
    attempts, failures = [0], [0]

    def connect() -> None:
        while not over.wait(
            0.01
        ):  # more often than that is too much for the server: busybox listens with a backlog of 9
            attempts[0] += 1
            failures[0] += not lab.client.reaches(HOST, PORTS + attempts[0] % number, timeout=10)

    client = threading.Thread(target=connect)
    if number:
        client.start()
    taken = []
    for _ in range(rounds):
        lab.daemon.kill9()
        begun = time.monotonic()
        lab.daemon.start()
        taken.append((time.monotonic() - begun) * 1e3)
    over.set()
    if number:
        client.join()
    seen = f"; {failures[0]} of {attempts[0]} connections meanwhile failed" if number else ""
    return f"Restart with {number} containers: {figure(taken)} ms{seen}"


def figure(samples: list[float]) -> str:
    return f"{statistics.median(samples):.0f} ({max(samples):.0f})"


if __name__ == "__main__":
    raise SystemExit(main())
