"""200 containers, 50 at a time: the leak check is clean and the daemon has not grown."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.snapshot import everybody, pid_inside
from hawse.cli.selftest.waiting import eventually

AT_ONCE = 50


def life(lab: Lab, number: int) -> None:
    """Create, start, end, remove, past the command line: its own start-up would be most of the load."""
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(20_000 + number)}]}},
    }
    for method, path, given, wanted in (
        ("POST", f"/v1.47/containers/create?name=c{number}", body, 201),
        ("POST", f"/v1.47/containers/c{number}/start", None, 204),
        ("DELETE", f"/v1.47/containers/c{number}?force=1", None, 204),
    ):
        status, said = lab.daemon.request(method, path, given)
        assert status == wanted, f"{method} {path}: {status} {said!r}"


def resident(lab: Lab) -> int:
    """The daemon's and the spawner's own memory in KiB; pages of files are shared with whoever else runs Python."""
    daemon = pid_inside(lab.daemon.pid)
    total = 0
    for path, _, parent, _ in everybody(lab.world):
        if daemon in (int(path.name), parent):
            total += int((path / "smaps_rollup").read_text().partition("\nAnonymous:")[2].split()[0])
    return total


def nobody_left(lab: Lab) -> bool:
    return not [c for *_, c in everybody(lab.world) if c.startswith("sleep")]


def descriptors(lab: Lab) -> int:
    return len(list(Path(f"/proc/{lab.daemon.pid}/fd").iterdir()))


@pytest.mark.slow("200 containers")
@pytest.mark.timeout(600)
def test_nothing_grows(lab: Lab) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(
            pool.map(lambda n: life(lab, n), range(250))
        )  # caches fill: the journal keeps its newest 1024 events decoded
        eventually(lambda: nobody_left(lab))
        open_before, grown = descriptors(lab), []
        while True:
            before = resident(lab)
            list(pool.map(lambda n: life(lab, n), range(200)))
            eventually(lambda: nobody_left(lab))
            grown.append(resident(lab) - before)
            if grown[-1] < 4096:
                break
            # A greater crowd than ever before takes more memory once; a leak takes it each time.
            assert len(grown) < 3, f"so many KiB more after each 200 more containers: {grown}"
    eventually(lambda: descriptors(lab) <= open_before)


@pytest.mark.slow("100 command lines at once")
@pytest.mark.timeout(600)
def test_a_hundred_at_once_get_a_hundred_addresses_and_names(lab: Lab) -> None:
    def start(number: int) -> str:
        return lab.hawse("run", "-d", "-p", "80", "busybox", "sleep", "1000", timeout=120).out.strip()

    with ThreadPoolExecutor(10) as pool:
        identifiers = list(pool.map(start, range(100)))
    assert len(set(identifiers)) == 100
    rows = [line.split() for line in lab.hawse("ps", "--format", "{{.Names}} {{.IP}} {{.Ports}}").out.splitlines()]
    for column in range(3):
        assert len({row[column] for row in rows}) == 100
    lab.hawse("rm", "-f", *identifiers, timeout=120)
