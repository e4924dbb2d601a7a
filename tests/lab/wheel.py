"""hawse's wheel, of the working tree as it is now."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("supervisor", "handlers", "cli", "packaging", "pyproject.toml", "README.md", "LICENSE")


def build(scratch: Path, target: Path) -> Path:
    """The wheel, in `target`.  Built from a copy in `scratch`: setuptools leaves build/ behind, and a stale one would lie."""
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():  # what interpreters write meanwhile comes and goes
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, scratch)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", target, scratch], check=True, timeout=110)
    (wheel,) = target.glob("hawse-*.whl")
    return wheel
