"""The root that the tests get for a second time (tests/lab/newroot.py): another userland, and nothing is written to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hawse.cli.selftest.lab import REPOSITORY
from tests.netns.launching import root

__all__ = ["root"]  # a fixture


def test_a_root_is_entered_and_not_written_to(root: Path, tmp_path: Path) -> None:
    for name in ("mnt", "etc/ssl/certs"):
        (root / name).mkdir(parents=True)
    shared = tmp_path / "shared"
    shared.mkdir()
    before = sorted(root.rglob("*"))
    mounts = Path("/proc/self/mounts").read_text()
    script = (
        f"busybox pwd; echo lost > /etc/new; busybox cat /etc/new; echo kept > {shared}/new; busybox ls -d /usr/bin"
    )
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.lab.newroot"]
    done = subprocess.run(
        [*command, str(root), str(REPOSITORY), str(shared), "--", "/bin/sh", "-c", f"{script}; exit 7"],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, f"{REPOSITORY}\nlost\n"), done.stderr
    assert "/usr/bin" in done.stderr, "this machine's own root is out of reach"
    assert (shared / "new").read_text() == "kept\n"
    assert sorted(root.rglob("*")) == before
    assert Path("/proc/self/mounts").read_text() == mounts
