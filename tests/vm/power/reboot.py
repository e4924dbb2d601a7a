"""A reboot of a machine that many containers run on: which come back, and after how long."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from tests.vm.machine import Machine
from tests.vm.power import program


@dataclass(frozen=True, slots=True, kw_only=True)
class Comeback:
    """`running`: policy (and whether a user had stopped it) → how many run, of how many.  Times in seconds from the
    beginning of the daemon's recovery, `last_page` when each that came back had given a page through its published port."""

    running: dict[str, tuple[int, int]]
    silent: tuple[int, ...]
    first_start: float
    last_start: float
    last_page: float

    @classmethod
    def of(cls, machine: Machine, count: int) -> Self:
        """Make them, restart the machine in good order, and look."""
        program(machine, "crowd", "make", count)
        machine.reboot()
        told = json.loads(program(machine, "crowd", "look", count))
        running = {kind: tuple(numbers) for kind, numbers in told.pop("running").items()}
        return cls(running=running, silent=tuple(told.pop("silent")), **told)

    def __str__(self) -> str:
        lines = [f"{kind}: {running} of {count} run" for kind, (running, count) in self.running.items()]
        lines.append(f"silent: {', '.join(map(str, self.silent)) or 'none'}")
        times = f"first start after {self.first_start:.1f} s, last {self.last_start:.1f} s, last page {self.last_page:.1f} s"
        return "\n".join([*lines, times])
