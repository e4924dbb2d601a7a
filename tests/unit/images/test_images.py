"""Images over a real store and real directories: made, found, named, removed, and swept after a crash."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from hawse.supervisor.core.errors import Conflict, KernelError, NotFound, UserError
from hawse.supervisor.core.model import Container, ContainerConfig, Exit, Image, ImageId, State
from hawse.supervisor.images.images import MAX_LAYERS, Images
from hawse.supervisor.runtime.spec import Paths
from hawse.supervisor.store.store import Store

if TYPE_CHECKING:
    from tests.unit.conftest import Clock, Samples


@pytest.fixture
async def images(tmp_path: Path, store: Store, clock: Clock) -> Images:
    return await Images.open(tmp_path, store, clock)


def tar(**files: str) -> io.BufferedReader:
    """An archive whose files belong to whoever runs the test, so that it takes no root to unpack it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid = len(text), os.getuid(), os.getgid()
            archive.addfile(info, io.BytesIO(text.encode()))
    raw.seek(0)
    return io.BufferedReader(raw)  # type: ignore[arg-type]


def directories(root: Path) -> set[str]:
    return {p.name for name in ("layers", "trash") for p in (root / name).iterdir()}


async def journal(store: Store) -> list[str]:
    return [e.type for e in await store.read(lambda tx: tx.events(0, 1000))]


async def test_import(images: Images, store: Store, tmp_path: Path) -> None:
    image = await images.import_(tar(a="hello"), tag="one", changes=["CMD sh", "ENV A=1"], message="by hand")
    assert image.tags == ("one:latest",) and image.size == 5 and len(image.layers) == 1
    assert image.config.cmd == ("/bin/sh", "-c", "sh") and image.config.env == ("A=1",)
    assert image.history == ("by hand",)
    (lower,) = images.lower_dirs(image)
    assert (lower / "a").read_text() == "hello"
    assert directories(tmp_path) == {image.layers[0]}
    assert (tmp_path / "layers").stat().st_mode & 0o777 == 0o700
    assert await images.resolve("one") == image == await images.find(image.id)
    assert await journal(store) == ["image.created"]


async def test_the_same_content_is_kept_once(images: Images, tmp_path: Path) -> None:
    first = await images.import_(tar(a="x"), tag="one")
    second = await images.import_(tar(a="x"), tag="two", changes=["CMD x"])
    assert first.layers == second.layers and first.id != second.id
    assert directories(tmp_path) == {first.layers[0]}
    removal = await images.remove("one")
    assert removal.image == first and removal.layers == ()
    assert (images.lower_dirs(second)[0] / "a").exists()
    assert (await images.remove("two")).layers == second.layers
    assert directories(tmp_path) == set()


@pytest.mark.parametrize(
    ("tag", "given", "source"),
    [
        ("Bad Name", [], tar(a="x")),
        ("ok", ["RUN x"], tar(a="x")),
        ("ok", [], io.BufferedReader(io.BytesIO(b"junk" * 400))),
    ],  # type: ignore[arg-type]
)
async def test_a_bad_import_leaves_nothing(
    images: Images, store: Store, tmp_path: Path, tag: str, given: list[str], source: io.BufferedReader
) -> None:
    with pytest.raises(UserError):
        await images.import_(source, tag=tag, changes=given)
    assert directories(tmp_path) == set()
    assert await journal(store) == []


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(images: Images, tmp_path: Path) -> None:
    whole = tar(a="x" * 100_000).read()

    class Cut(io.RawIOBase):
        sent = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if self.sent > 50_000:
                raise ConnectionAbortedError(103, "the upload was given up")
            piece = whole[self.sent : self.sent + len(buffer)]
            self.sent += len(piece)
            buffer[: len(piece)] = piece
            return len(piece)

    with pytest.raises(KernelError):
        await images.import_(io.BufferedReader(Cut(), 1000), tag="x")
    assert directories(tmp_path) == set()


async def test_a_store_that_fails_leaves_no_layer(
    images: Images, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(store, "transact", fail)
    with pytest.raises(RuntimeError):
        await images.import_(tar(a="x"), tag="x")
    assert directories(tmp_path) == set()


async def test_names(images: Images, store: Store) -> None:
    image = await images.import_(tar(a="x"), tag="me/app:1")
    tagged = await images.tag("me/app:1", "me/app")
    assert tagged.tags == ("me/app:1", "me/app:latest")
    digits = image.id.removeprefix("sha256:")
    for ref in (
        "me/app:1",
        "me/app",
        "docker.io/me/app",
        image.id,
        digits,
        digits[:12],
        digits[:2],
        f"sha256:{digits[:5]}",
    ):
        assert (await images.resolve(ref)).id == image.id
    assert (await images.tag("me/app", "me/app")).tags == tagged.tags
    assert await journal(store) == ["image.created", "image.tagged", "image.tagged"]


async def test_a_name_moves_to_the_newest_image(images: Images, store: Store) -> None:
    old = await images.import_(tar(a="1"), tag="app")
    new = await images.import_(tar(a="2"), tag="app")
    assert (await images.resolve("app")).id == new.id
    assert (await images.resolve(old.id)).tags == ()
    assert await journal(store) == ["image.created", "image.untagged", "image.created"]


async def test_an_unknown_image_is_told_with_near_names(images: Images) -> None:
    await images.import_(tar(a="1"), tag="busybox:1.36")
    with pytest.raises(NotFound) as caught:
        await images.resolve("busybos")
    assert caught.value.message == "No such image: busybos:latest"
    assert "busybox:1.36" in caught.value.hint
    for ref in ("abcdef", "a" * 64, "sha256:" + "a" * 64):
        with pytest.raises(NotFound, match="No such image"):
            await images.resolve(ref)
    with pytest.raises(UserError, match="invalid reference format"):
        await images.resolve("no such:image:name")


async def test_an_ambiguous_prefix(images: Images, store: Store, samples: Samples) -> None:
    for n in (1, 2):
        await store.transact(lambda tx, n=n: tx.put_image(samples.image(n)))  # type: ignore[misc]
    with pytest.raises(UserError, match="multiple IDs"):
        await images.resolve("000")


def container_of(image: Image, state: State = State.EXITED, **changes: Any) -> Container:
    config = ContainerConfig(image=image.tags[0], image_id=image.id, cmd=("sh",), env=("A=1",), stop_signal="SIGTERM")
    fields = {"id": "c" * 64, "name": "web", "config": config, "state": state, "created_at": 1}
    return Container(**{**fields, **changes})  # type: ignore[arg-type]


async def test_removing_names_and_images(images: Images, store: Store, tmp_path: Path) -> None:
    image = await images.import_(tar(a="x"), tag="app:1")
    await images.tag("app:1", "app:2")
    first = await images.remove("app:1")
    assert (first.untagged, first.image) == (("app:1",), None)
    with pytest.raises(NotFound):
        await images.resolve("app:1")
    assert directories(tmp_path) == {image.layers[0]}
    second = await images.remove("app:2")
    assert second.untagged == ("app:2",) and second.image is not None and second.layers == image.layers
    assert directories(tmp_path) == set()
    assert (await journal(store))[-2:] == ["image.untagged", "image.removed"]


async def test_an_image_under_a_container_stays(images: Images, store: Store, tmp_path: Path) -> None:
    image = await images.import_(tar(a="x"), tag="app")
    await store.transact(lambda tx: tx.put(container_of(image)))
    short = image.id.removeprefix("sha256:")[:12]
    with pytest.raises(Conflict) as caught:
        await images.remove("app")
    assert caught.value.message == (
        'conflict: unable to remove repository reference "app" (must force) - '
        f"container cccccccccccc is using its referenced image {short}"
    )
    with pytest.raises(
        Conflict, match=rf"unable to delete {short} \(cannot be forced\).*stopped container cccccccccccc"
    ):
        await images.remove(image.id, force=True)
    await store.transact(lambda tx: tx.put(container_of(image, State.RUNNING)))
    with pytest.raises(Conflict, match="running container"):
        await images.remove(short)
    assert (await images.resolve("app")).id == image.id
    forced = await images.remove("app", force=True)
    assert forced.untagged == ("app:latest",) and forced.image is None
    assert directories(tmp_path) == {image.layers[0]}, "the container still stands on it"


async def test_a_container_that_removes_itself_holds_nothing(images: Images, store: Store) -> None:
    image = await images.import_(tar(a="x"), tag="app")
    config = ContainerConfig(image="app", image_id=image.id, auto_remove=True)
    for ended, state in ((None, State.RUNNING), (Exit(code=0), State.EXITED)):
        await store.transact(lambda tx, s=state, e=ended: tx.put(container_of(image, s, config=config, exit=e)))  # type: ignore[misc]
        if ended is None:
            with pytest.raises(Conflict):
                await images.remove("app")
    assert (await images.remove("app")).image == image


async def test_by_id_with_names_in_several_repositories(images: Images) -> None:
    image = await images.import_(tar(a="x"), tag="one")
    await images.tag("one", "two")
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories"):
        await images.remove(image.id)
    assert set((await images.remove(image.id, force=True)).untagged) == {"one:latest", "two:latest"}


def paths_of(root: Path) -> Paths:
    paths = Paths(state=root / "containers/c", run=root / "run/c")
    paths.state.mkdir(parents=True, exist_ok=True)
    paths.run.mkdir(parents=True, exist_ok=True)
    return paths


async def test_commit(images: Images, store: Store, tmp_path: Path) -> None:
    base = await images.import_(tar(a="x"), tag="base", changes=["VOLUME /data"])
    paths = paths_of(tmp_path)
    paths.upper.mkdir()
    (paths.upper / "new").write_text("made")
    made = await images.commit(container_of(base), paths, tag="derived:1", changes=["USER app"])
    assert made.tags == ("derived:1",) and made.parent == base.id
    assert made.layers[:-1] == base.layers and len(made.layers) == 2
    assert made.config.cmd == ("sh",) and made.config.user == "app" and made.config.volumes == ("/data",)
    assert made.size == base.size + 4 and made.history == (*base.history, "sh")
    assert [[p.name for p in lower.iterdir()] for lower in images.lower_dirs(made)] == [["new"], ["a"]]
    assert (await journal(store))[-2:] == ["image.created", "container.committed"]
    assert (await images.remove("base")).layers == (), "its layer carries the other"
    assert set((await images.remove("derived:1")).layers) == set(made.layers)
    assert directories(tmp_path) == set()


async def test_what_cannot_be_committed(images: Images, store: Store, tmp_path: Path) -> None:
    base = await images.import_(tar(a="x"), tag="base")
    rootless = container_of(base, config=ContainerConfig(rootfs="/", cmd=("sh",)))
    with pytest.raises(UserError, match="has no image to commit onto"):
        await images.commit(rootless, paths_of(tmp_path))
    deep = replace(base, id=ImageId("sha256:" + "d" * 64), layers=base.layers * MAX_LAYERS, tags=("deep:latest",))
    await store.transact(lambda tx: tx.put_image(deep))
    with pytest.raises(UserError, match="max depth exceeded"):
        await images.commit(container_of(deep), paths_of(tmp_path))
    with pytest.raises(UserError):
        await images.commit(container_of(base), paths_of(tmp_path), tag="UPPER CASE")
    assert directories(tmp_path) == set(base.layers)


async def test_the_directories_of_a_container(images: Images, tmp_path: Path) -> None:
    paths = paths_of(tmp_path)
    uid = os.getuid()
    for _ in range(2):
        images.prepare(paths, uid)
    assert paths.work.is_dir() and paths.target.is_dir() and not paths.upper.exists()
    (paths.upper / "deep").mkdir(parents=True)
    (paths.run / "shim.sock").touch()
    for _ in range(2):
        await images.discard(paths)
    assert not paths.state.exists() and not paths.run.exists()
    assert directories(tmp_path) == set()


async def test_a_start_sweeps_what_a_crash_left(images: Images, store: Store, tmp_path: Path) -> None:
    kept = await images.import_(tar(a="x"), tag="kept")
    for left in ("layers/new-0123/half", "layers/published-but-no-row/x", "trash/abc/x"):
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
    again = await Images.open(tmp_path, store)
    assert directories(tmp_path) == {kept.layers[0]}
    assert (again.lower_dirs(kept)[0] / "a").exists()


async def test_importing_and_removing_the_same_content_at_once(images: Images, tmp_path: Path) -> None:
    """Race: an import finds the layer there while the removal of its last other user takes it away."""
    for turn in range(10):
        await images.import_(tar(a="x"), tag="old")
        _, made = await asyncio.gather(
            images.remove("old"), images.import_(tar(a="x"), tag="new", changes=[f"LABEL turn={turn}"])
        )
        assert (images.lower_dirs(made)[0] / "a").read_text() == "x"
        await images.remove("new")
    assert directories(tmp_path) == set()
