"""The wheel holds every package: the list in pyproject.toml is written by hand and easily forgets one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
ROOTS = ("supervisor", "handlers", "cli")


def on_disk() -> set[str]:
    return {
        ".".join(["hawse", *directory.relative_to(REPOSITORY).parts])
        for root in ROOTS
        for directory in [REPOSITORY / root, *(REPOSITORY / root).rglob("*/")]
        if any(directory.glob("*.py"))
    }


def test_the_list_of_packages_is_complete() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == on_disk()


def test_every_package_has_an_init() -> None:
    for name in on_disk():
        path = REPOSITORY.joinpath(*name.split(".")[1:])
        assert (path / "__init__.py").exists(), f"{path} would be a namespace package"


@pytest.mark.timeout(120)
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    """Built from a copy: setuptools leaves build/ behind, and a stale one would hide what is missing."""
    for name in (*ROOTS, "pyproject.toml", "README.md", "LICENSE"):
        source = REPOSITORY / name
        if source.is_dir():  # what interpreters write meanwhile comes and goes
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tmp_path)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            tmp_path / "out",
            tmp_path,
        ],
        check=True,
        timeout=110,
    )
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {
        f"hawse/{path.relative_to(tmp_path)}"
        for root in ROOTS
        for path in (tmp_path / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= packed, f"missing from the wheel: {sorted(expected - packed)}"
    entry_points = next(name for name in packed if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert b"hawse = hawse.cli.main:main" in archive.read(entry_points)
