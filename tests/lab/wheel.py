"""hawse's wheel, of the working tree as it is now."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("supervisor", "handlers", "cli", "pyproject.toml", "README.md", "LICENSE")


def copy_sources(scratch: Path) -> None:
    """Copy what a wheel and an sdist are made of."""
    scratch.mkdir(exist_ok=True)
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():  # what interpreters write meanwhile comes and goes
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, scratch)


def build(scratch: Path, target: Path, version: str | None = None) -> Path:
    """The wheel, in `target`; as another `version` where one is wanted.

    Built from a copy in `scratch`: setuptools leaves build/ behind, and a stale one would lie.
    """
    copy_sources(scratch)
    if version is not None:
        for name, line in (("pyproject.toml", "version = "), ("supervisor/core/version.py", "VERSION = ")):
            file = scratch / name
            changed = re.sub(f'^{line}".*"$', f'{line}"{version}"', file.read_text(), count=1, flags=re.MULTILINE)
            file.write_text(changed)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", target, scratch], check=True, timeout=110)
    (wheel,) = target.glob(f"hawse-{version or '*'}-*.whl")
    return wheel
