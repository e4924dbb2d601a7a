"""script/bench durable [--rounds N] [--calls N]: what it costs that an answer waits for the disk.

Two daemons, one with --durable on and one with off, each in a lab of its own on the same real disk, are asked the same in
turn, call by call: milliseconds a call, one at a time and sixteen at a time, and a hundred starts, four at a time.  The floor
is one fdatasync(2) behind 12 KiB appended to a file, which is what a create writes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from tests.bench.calls import ask

MODES = ("on", "off")
AT_ONCE = (1, 16)
CROWD, CROWD_AT_ONCE = 100, 4
BODY = {"Image": "busybox", "Cmd": ["sleep", "100000"]}

Times = dict[tuple[str, str], list[float]]
"""(row, mode) → milliseconds of each call."""


VERBS: dict[str, Callable[[Lab, int], object]] = {  # a container's life, and a network's
    "create": lambda lab, n: ask(lab, "POST", f"/containers/create?name=c{n}", BODY, wanted=201),
    "start": lambda lab, n: ask(lab, "POST", f"/containers/c{n}/start", wanted=204),
    "stop": lambda lab, n: ask(lab, "POST", f"/containers/c{n}/stop?t=0", wanted=204),
    "rm": lambda lab, n: ask(lab, "DELETE", f"/containers/c{n}", wanted=204),
    "network create": lambda lab, n: ask(lab, "POST", "/networks/create", {"Name": f"n{n}"}, wanted=201),
    "network rm": lambda lab, n: ask(lab, "DELETE", f"/networks/n{n}", wanted=204),
}


def timed(call: Callable[[Lab, int], object], lab: Lab, n: int) -> float:
    begun = time.perf_counter()
    call(lab, n)
    return (time.perf_counter() - begun) * 1000


def flushes(directory: Path, count: int) -> list[float]:
    fd = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        took = []
        for _ in range(count):
            os.write(fd, b"x" * 12_288)
            begun = time.perf_counter()
            os.fdatasync(fd)
            took.append((time.perf_counter() - begun) * 1000)
        return took
    finally:
        os.close(fd)


def one_round(labs: dict[str, Lab], calls: int, times: Times) -> None:
    """Both daemons in turn, as few calls at a time as the row allows, so that what else the machine does falls on both."""
    for at_once in AT_ONCE:
        with ThreadPoolExecutor(at_once) as pool:
            for verb in VERBS:
                for first in range(0, calls, at_once):
                    for mode, lab in labs.items():
                        took = pool.map(partial(timed, VERBS[verb], lab), range(first, first + at_once))
                        times.setdefault((f"{verb}, {at_once} at a time", mode), []).extend(took)
    for mode, lab in labs.items():
        with ThreadPoolExecutor(CROWD_AT_ONCE) as pool:
            list(pool.map(partial(VERBS["create"], lab), range(CROWD)))
            begun = time.perf_counter()
            list(pool.map(partial(VERBS["start"], lab), range(CROWD)))
            took_all = (time.perf_counter() - begun) * 1000
            list(pool.map(lambda n, lab=lab: ask(lab, "DELETE", f"/containers/c{n}?force=1", wanted=204), range(CROWD)))  # type: ignore[misc]
        times.setdefault((f"{CROWD} starts, {CROWD_AT_ONCE} at a time", mode), []).append(took_all)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench durable", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=32, help="of each kind in a round")
    options = parser.parse_args()
    times: Times = {}
    flushed: list[float] = []
    with ExitStack() as stack:
        labs = {mode: stack.enter_context(Lab()) for mode in MODES}
        for mode, lab in labs.items():
            lab.daemon.start("--durable", mode)
            lab.hawse("image", "import", busybox_tar(), "busybox")
        for _ in range(options.rounds):
            one_round(labs, options.calls, times)
            flushed += flushes(labs["on"].share, options.calls)
    print(f"load {os.getloadavg()[0]:.1f}; {options.rounds} rounds\n")
    print("| ms, median (and nine of ten below) | on | off | costs |\n|---|---|---|---|")
    for row in dict.fromkeys(row for row, _ in times):
        middle = {mode: statistics.median(times[row, mode]) for mode in MODES}
        shown = [f"{middle[mode]:.1f} ({_below(times[row, mode]):.1f})" for mode in MODES]
        print(f"| {row} | {shown[0]} | {shown[1]} | {middle['on'] - middle['off']:+.1f} |")
    print(f"| one flush of the disk | {statistics.median(flushed):.1f} ({_below(flushed):.1f}) | | |")
    return 0


def _below(samples: list[float]) -> float:
    return sorted(samples)[int(len(samples) * 0.9)]


if __name__ == "__main__":
    raise SystemExit(main())
