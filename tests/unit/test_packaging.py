"""The wheel and the sdist hold every package: the list in pyproject.toml is written by hand and easily forgets one."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.lab.wheel import build, copy_sources

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


def files_below(tree: Path) -> set[str]:
    return {
        str(path.relative_to(tree))
        for root in ROOTS
        for path in (tree / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_package_says_that_it_is_typed() -> None:
    """PEP 561: each of the three, since `hawse` itself is a namespace that cannot."""
    for root in ROOTS:
        assert (REPOSITORY / root / "py.typed").read_bytes() == b""


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (REPOSITORY / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"] and "END OF TERMS AND CONDITIONS" in text


@pytest.mark.timeout(120)
def test_the_sdist_holds_every_module_and_the_licence(tmp_path: Path) -> None:
    scratch, out = tmp_path / "tree", tmp_path / "out"
    copy_sources(scratch)
    build_it = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build_it, out], cwd=scratch, check=True, capture_output=True, timeout=110)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
        (licence,) = (member for member in archive.getmembers() if member.name.endswith("/LICENSE"))
        extracted = archive.extractfile(licence)
        assert extracted is not None and extracted.read() == (REPOSITORY / "LICENSE").read_bytes()
    assert files_below(scratch) <= packed


@pytest.mark.timeout(120)
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    scratch = tmp_path / "tree"
    wheel = build(scratch, tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {f"hawse/{name}" for name in files_below(scratch)}
    assert expected <= packed, f"missing from the wheel: {sorted(expected - packed)}"
    entry_points = next(name for name in packed if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert b"hawse = hawse.cli.main:main" in archive.read(entry_points)
        licence = next(name for name in packed if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(licence) == (REPOSITORY / "LICENSE").read_bytes()
