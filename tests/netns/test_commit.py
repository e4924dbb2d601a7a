"""From an archive to a running container to an image of what it changed, and a container of that: real overlays."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from hawse.supervisor.core.capabilities import DEFAULT_CAPABILITIES
from hawse.supervisor.core.model import Container, ContainerConfig, Image, State
from hawse.supervisor.images.images import Images
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.runtime.spec import Paths
from hawse.supervisor.shim.specs import RootfsSpec, ShimSpec
from hawse.supervisor.store.store import Store
from tests.netns.launching import CONTAINER, UID_BASE, end, root, running, spawner, spec, start

__all__ = ["root", "spawner", "spec"]  # fixtures
CAPS = list(DEFAULT_CAPABILITIES)


def packed(root: Path) -> io.BufferedReader:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.add(root, ".")
    raw.seek(0)
    return io.BufferedReader(raw)  # type: ignore[arg-type]


@pytest.mark.parametrize("uid_base", [UID_BASE, None])
async def test_changes_survive_a_commit(
    spawner: Spawner, spec: ShimSpec, root: Path, tmp_path: Path, uid_base: int | None
) -> None:
    for name in ("deleted", "emptied/old", "kept/under"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    os.chown(root / "kept/under", 1000, 1000)

    async def run(images: Images, image: Image, script: str) -> str:
        """The output of `script` in a new container; its directories are left as they were."""
        paths = Paths(state=tmp_path, run=tmp_path / "run")
        images.prepare(paths, uid_base)
        lower = [str(path) for path in images.lower_dirs(image)]
        rootfs = RootfsSpec(lower=lower, upper=str(paths.upper), work=str(paths.work), target=str(paths.target))
        shim = await start(
            spawner, running(ShimSpec(**{**vars(spec), "rootfs": rootfs, "uid_base": uid_base}), script, caps=CAPS)
        )
        assert (await shim.wait_exit()).code == 0, paths.log.read_text()
        await end(shim)
        lines = paths.log.read_text().splitlines()
        paths.log.unlink()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def forget_changes() -> None:
        subprocess.run(["rm", "-rf", "--", tmp_path / "upper", tmp_path / "work"], check=True)

    async with await Store.open(tmp_path / "hawse.db") as store:
        images = await Images.open(tmp_path, store)
        base = await images.import_(packed(root), tag="base")
        forget_changes()
        bb = "/bin/busybox"
        script = f"""set -e
            echo made > /made; {bb} chown 1000:50 /made; {bb} chmod 4711 /made
            {bb} rm /deleted
            {bb} rm -r /emptied; {bb} mkdir /emptied; echo new > /emptied/new
            {bb} mv /kept /moved
            {bb} ln /made /linked"""
        assert await run(images, base, script) == ""
        container = Container(
            id=CONTAINER,
            name="author",
            config=ContainerConfig(image="base", image_id=base.id, cmd=("sh",)),
            state=State.EXITED,
            created_at=1,
            uid_base=uid_base,
        )
        edition = await images.commit(container, Paths(state=tmp_path, run=tmp_path / "run"), tag="edition")
        forget_changes()
        look = f"""{bb} stat -c '%n %u:%g %a %h' /made /moved/under; {bb} ls /emptied; cd /
            for x in deleted kept emptied/old etc/hosts; do if [ -e $x ]; then echo $x is there; fi; done"""
        seen = await run(images, edition, look)
        assert seen.splitlines() == ["/made 1000:50 4711 2", "/moved/under 1000:1000 644 1", "new"]
        forget_changes()
        shown = await run(images, base, f"{bb} cat /deleted /emptied/old /kept/under; [ ! -e /made ]")
        assert shown == "xxx", "the base image was written to"
