"""The daemon dies at each step of making and removing an image; the next one finds rows and directories in agreement."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from tests.system.test_crash_points import POINTS as EVERY_POINT

POINTS = [point for point in EVERY_POINT if point.startswith("image.")]
REMOVING = {"image.row-gone", "image.layers-gone"}


def layers(lab: Lab) -> set[str]:
    return {p.name for name in ("layers", "trash") for p in (lab.root / name).iterdir()}


def recorded(lab: Lab) -> set[str]:
    _, listed = lab.daemon.request("GET", "/images/json")
    found: set[str] = set()
    for image in json.loads(listed):
        _, shown = lab.daemon.request("GET", f"/images/{image['Id']}/json")
        found.update(layer.removeprefix("sha256:") for layer in json.loads(shown)["RootFS"]["Layers"])
    return found


CASES = [(point, verb) for point in POINTS for verb in (("rm",) if point in REMOVING else ("import", "commit"))]


@pytest.mark.parametrize(("point", "verb"), CASES)
def test_killed_at(lab: Lab, point: str, verb: str) -> None:
    lab.hawse("run", "--name", "author", "busybox", "sh", "-c", "echo x > /made")
    if verb == "rm":
        lab.hawse("commit", "author", "victim")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    # Other content than the lab's own busybox, or its layer would only be used once more.
    archive = Path(lab.share / "other.tar")
    archive.write_bytes(_with_one_more(busybox_tar().read_bytes()))
    command: dict[str, list[str | Path]] = {
        "import": ["image", "import", archive, "victim"],
        "commit": ["commit", "author", "victim"],
    }
    assert lab.hawse(*command.get(verb, ["image", "rm", "victim"]), check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    assert layers(lab) == recorded(lab)
    again = lab.hawse(*command.get(verb, ["image", "rm", "victim"]), check=False)
    assert again.code == 0 or "No such image" in again.err
    lab.hawse("image", "rm", "victim", check=False)
    lab.hawse("rm", "author")
    assert layers(lab) == recorded(lab)
    archive.unlink()


def _with_one_more(tar: bytes) -> bytes:
    """The archive with an empty file in front."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("one-more"))
    return raw.getvalue()[:512] + tar


def test_the_points_were_found() -> None:
    assert set(POINTS) >= REMOVING | {"image.layer-made", "image.layer-published"}
