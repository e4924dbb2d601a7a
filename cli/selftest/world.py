"""What the parts of a lab use of it: where it is, and how a program is run inside."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a program inside the lab left: its exit code (128 + signal when killed) and output."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        return self.stderr.decode(errors="replace")

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} → {self.code}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One lab, for its machines, its daemon, its terminals and its snapshots."""

    instance: str
    state: Path
    """Its directory, as inside and outside see it."""
    root: Path
    """The daemon's state directory."""
    run_dir: Path
    inside: Path
    """The root directory of the inside, seen from the outside."""
    run: Callable[..., Result]
    """As Lab.run."""
    popen: Callable[..., subprocess.Popen[bytes]]
    """As Lab.popen."""
