"""The lower bound: the same start in plain system calls (floor.c), in a lab of its own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hawse.cli.selftest.lab import Lab
from tests.bench.worlds import Files

BRIDGE, GATEWAY = "bench0", "10.201.0.1"

STAGES = ("prepare", "namespaces", "cgroup", "veth", "inside", "mounts")


class Floor:
    """floor.c in a lab with a bridge of its own."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lab = Lab()
        self._lab.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        self._lab.run(["ip", "address", "add", f"{GATEWAY}/16", "dev", BRIDGE])
        self._lab.run(["ip", "link", "set", BRIDGE, "up"])
        self._name = f"hawse_{self._lab.instance}"
        self.cgroup = ("-g", self._name)

    def start(self, *options: str, samples: int) -> dict[str, list[float]]:
        """Milliseconds of one round: the median of its runs, with the stages beside it."""
        told = self._run(*options, count=samples)
        return {"first": [told["first"] / 1e3], **{f"stage {stage}": [told[stage] / 1e3] for stage in STAGES}}

    def many(self, count: int) -> dict[str, list[float]]:
        """Seconds to start that many, and to have them all gone."""
        told = self._run("-u", *self.cgroup, "-b", str(count), count=1)
        return {"start": [told["start_ms"] / 1e3], "rm -f": [told["removed_ms"] / 1e3]}

    def close(self) -> None:
        for left in Path("/sys/fs/cgroup").glob(f"*/{self._name}-floor-*"):
            left.rmdir()
        self._lab.close()

    def _run(self, *options: str, count: int) -> Any:
        work = tempfile.mkdtemp(dir=self._lab.state)
        os.chmod(work, 0o755)
        out = self._lab.run(
            [self._files.floor, *options, BRIDGE, GATEWAY, self._files.root, work, str(count)], timeout=120
        ).out
        return json.loads(out.splitlines()[-1])
