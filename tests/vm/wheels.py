"""What `pip install` needs inside a machine, from where no package index is reached: hawse's wheel and its dependencies'."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.lab.wheel import REPOSITORY, build
from tests.vm.image import CACHE, PYTHON

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def put(suite: str, target: Path, extra: str = "") -> None:
    """Fill the directory `target`, also with what `extra` (one of pyproject.toml's) needs.

    Raises CalledProcessError where a dependency cannot be had.
    """
    target.mkdir()
    for wheel in dependencies(PYTHON[suite], extra).glob("*.whl"):
        shutil.copy(wheel, target)
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch), target)


def dependencies(python: str, extra: str) -> Path:
    """A directory with the dependencies' wheels for that Python, kept; pip sees to it that it is complete."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    kept = CACHE / "wheels" / (f"{python}-{extra}" if extra else python)
    kept.mkdir(parents=True, exist_ok=True)
    stamp = kept / "complete"
    if not stamp.exists() or stamp.read_text() != "\n".join(wanted):
        where = [f"--platform={platform}" for platform in PLATFORMS]
        tags = [f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none", "--implementation=cp"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        which = ["--only-binary=:all:", f"--python-version={python}", *tags, *where]
        subprocess.run([*pip, f"--dest={kept}", *which, *wanted], check=True, timeout=600)
        stamp.write_text("\n".join(wanted))
    return kept
