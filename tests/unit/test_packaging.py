"""The wheel holds every package: the list in pyproject.toml is written by hand and easily forgets one."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.lab.wheel import build

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
    scratch = tmp_path / "tree"
    scratch.mkdir()
    wheel = build(scratch, tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {
        f"hawse/{path.relative_to(scratch)}"
        for root in ROOTS
        for path in (scratch / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= packed, f"missing from the wheel: {sorted(expected - packed)}"
    entry_points = next(name for name in packed if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert b"hawse = hawse.cli.main:main" in archive.read(entry_points)
