"""Power cuts: work until the plug is pulled, boot, and what was answered compared with what is there.

What is cut is what the machine's kernel had not written to its disk yet: qemu is killed, and what had reached it is in this
machine's page cache and stays (`cache=writeback`).  So it is a disk that keeps what it was given, in order; one that lies
about its cache is not played.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass

from tests.vm.machine import Machine
from tests.vm.power import program

FIRST, LAST = 8.0, 35.0
"""Seconds of work before the cut, in software emulation a few answers each."""
CLEAN = """\
hawse ps -aq | xargs -r hawse rm -f -v; hawse network prune -f; hawse volume prune -f -a
hawse images --format '{{.Repository}} {{.ID}}' | sed -n '/^busybox /!s/.* //p' | sort -u | xargs -r hawse rmi -f"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answers` that said that something was done; of these `lost`; `broken` is what may never be."""

    seed: int
    after: float
    answers: int
    lost: tuple[str, ...]
    broken: tuple[str, ...]

    def __str__(self) -> str:
        head = f"seed {self.seed}: cut after {self.after:.1f} s and {self.answers} answers: "
        told = [f"{len(self.lost)} lost, {len(self.broken)} broken"]
        return head + "\n    ".join([*told, *self.lost, *self.broken])


def cut(machine: Machine, seed: int) -> Verdict:
    """One, at a moment that the seed decides; the machine runs afterwards, with what has survived in it."""
    notes = f"/share/notes-{seed}"
    after = random.Random(seed).uniform(FIRST, LAST)
    program(machine, "churn", notes, seed)
    time.sleep(after)
    machine.power_cut()
    machine.power_on()
    said = json.loads(program(machine, "judge", notes))
    return Verdict(seed, after, said["answers"], tuple(said["lost"]), tuple(said["broken"]))


def clean(machine: Machine) -> None:
    """Nothing of the last cut's work is left in it."""
    machine.run(CLEAN)
