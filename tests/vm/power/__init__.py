"""Machines that lose their power or are restarted: how it is done is here, what runs inside them in inside/."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.machine import Machine

PROGRAMS = Path(__file__).parent / "inside"
PACKAGE = "tests/vm/power/inside"
"""Where they lie in the shared directory as well, so that they find each other by the same names."""


def program(machine: Machine, *command: object, timeout: float = 900) -> str:
    """What one of the programs prints inside."""
    place = machine.share / PACKAGE
    if not place.exists():
        shutil.copytree(PROGRAMS, place, ignore=shutil.ignore_patterns("__pycache__"))
    name, *arguments = map(str, command)
    module = f"{PACKAGE.replace('/', '.')}.{name}"
    return machine.run(f"cd /share && python3 -B -m {module} {' '.join(arguments)}", timeout=timeout).out
