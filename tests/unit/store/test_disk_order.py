"""In which order things reach the disk: nothing is believed before it is there, nothing destroyed before that is recorded.

At each flush it is written down what a power cut right after it would leave.
"""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hawse.supervisor.images.images import Images
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.linux import syscalls
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime import seccomp
from hawse.supervisor.store.store import Store

if TYPE_CHECKING:
    from tests.unit.conftest import Clock


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[tuple[str, Any]]]:
    def watch(look: Callable[[], Any]) -> list[tuple[str, Any]]:
        """(flush, what `look` sees) of each flush from now on."""
        seen: list[tuple[str, Any]] = []
        for module, name in ((syscalls, "syncfs"), (os, "fsync"), (os, "fdatasync")):
            monkeypatch.setattr(module, name, lambda fd, name=name: seen.append((name, look())))
        return seen

    return watch


def archive() -> io.BufferedReader:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    return io.BufferedReader(io.BytesIO(raw.getvalue()))  # type: ignore[arg-type]


def rows(store: Store, table: str) -> int:
    """As another process sees them: what is committed."""
    connection = sqlite3.connect(store.path)
    try:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def layers(root: Path) -> list[str]:
    return ["new" if path.name.startswith("new-") else "layer" for path in (root / "layers").iterdir()]


async def test_an_image(tmp_path: Path, store: Store, clock: Clock, watch: Any) -> None:
    images = await Images.open(tmp_path, store, clock)
    seen = watch(lambda: (layers(tmp_path), rows(store, "images")))
    await images.import_(archive(), tag="one")
    assert seen == [("syncfs", (["new"], 0)), ("fsync", (["layer"], 0))]
    seen.clear()
    await images.remove("one")
    assert seen == [("fdatasync", (["layer"], 0))], "its layer goes after the flush"
    assert layers(tmp_path) == []


async def test_a_volume(tmp_path: Path, parts: Parts, watch: Any) -> None:
    volumes = Volumes(parts)
    volumes.make()
    await volumes.create("data", {})
    (parts.places.volume("data") / "file").write_text("precious")
    seen = watch(lambda: [path.read_text() for path in (tmp_path / "trash").rglob("file")])
    await volumes.remove("data")
    assert seen == [("fdatasync", ["precious"])], "put back, should the record of its removal not have come so far"
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_filter_that_is_believed_by_its_name(tmp_path: Path, watch: Any) -> None:
    """An empty one would keep every container from starting, at every later boot."""
    sizes = watch(lambda: [path.stat().st_size for path in (tmp_path / "seccomp").iterdir() if path.suffix != ".bpf"])
    path = Path(seccomp.default_profile(tmp_path))
    assert sizes == [("fsync", [path.stat().st_size])]
