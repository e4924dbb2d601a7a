"""script/bench: hawse beside the engines that are installed, in interleaved rounds of one run.

A round takes every row through every engine before the next round begins, so that whatever else the machine does falls
on all of them alike; the ratios of one run are what to trust, single milliseconds are not.  Every engine lives in a lab of
its own (worlds.py); nothing touches the machine's own network.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

from hawse.cli.selftest.lab import CACHE
from tests.bench import report
from tests.bench.floor import Floor
from tests.bench.rows import ROWS, Scale, Series
from tests.bench.worlds import World, build, installed


def main() -> int:
    arguments = parse()
    if os.geteuid() != 0:
        print("script/bench needs root: it makes namespaces and starts containers", file=sys.stderr)
        return 1
    peers = Path(os.environ["HAWSE_BENCH_PEERS"]) if os.environ.get("HAWSE_BENCH_PEERS") else None
    available = ["hawse", "floor", *installed(peers)]
    engines = [e for e in available if not arguments.engines or e in arguments.engines]
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    scale = Scale(samples=3, many=20, seconds=1.0) if arguments.quick else Scale(samples=arguments.samples)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the worlds are closed on the way out
    results: report.Results = {}
    failures: list[str] = []
    versions = {}
    files = build(CACHE / "bench")
    print(f"engines: {', '.join(engines)}; {arguments.rounds} rounds; load {os.getloadavg()[0]:.2f}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        worlds = {}
        for engine in engines:
            if engine == "floor":
                floor = Floor(files)
                stack.callback(floor.close)
            else:
                worlds[engine] = stack.enter_context(World(engine, files, peers))
                versions[engine] = worlds[engine].version
        for number in range(arguments.rounds):
            for row in rows:
                for engine in engines:
                    begun = time.monotonic()
                    try:
                        series: Series
                        if engine == "floor":
                            series = floor_row(floor, row.name, scale)
                        else:
                            worlds[engine].call("settle")
                            series = row.measure(worlds[engine], scale)
                    except (RuntimeError, AssertionError) as e:
                        failures.append(f"round {number + 1}, {row.name}, {engine}: {e}")
                        print(failures[-1], file=sys.stderr)
                        continue
                    report.add_round(results, row.name, engine, series)
                    took = time.monotonic() - begun
                    print(f"round {number + 1} {row.name:12} {engine:8} {took:6.1f} s", file=sys.stderr)
    print(report.table(results, {r.name: r.title for r in rows}, {r.name: r.units for r in rows}, engines))
    if arguments.json:
        run = {
            "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "python": platform.python_version()},
            "versions": versions,
            "rounds": arguments.rounds,
            "scale": {"samples": scale.samples, "many": scale.many},
            "failures": failures,
            "summary": report.summary(results),
            "samples": results,
        }
        arguments.json.write_text(json.dumps(run, indent=1) + "\n")
    return 1 if failures else 0


def floor_row(floor: Floor, name: str, scale: Scale) -> dict[str, list[float]]:
    """The lower bound of a row, nothing where there is none."""
    match name:
        case "first":
            return {
                **floor.start("-u", *floor.cgroup, samples=scale.samples),
                "first, without cgroups": floor.start("-u", samples=scale.samples)["first"],
            }
        case "first-none":
            return floor.start("-n", "-u", *floor.cgroup, samples=scale.samples)
        case "hundred":
            return floor.many(scale.many)
    return {}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", help=f"of: {' '.join(row.name for row in ROWS)} (default: all)")
    parser.add_argument("--engines", type=lambda text: text.split(","), help="of hawse,floor,docker,podman")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10, help="of a quick row, each round")
    parser.add_argument("--quick", action="store_true", help="a few samples of everything: does it work at all")
    parser.add_argument("--json", type=Path, help="write every sample there")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {' '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
