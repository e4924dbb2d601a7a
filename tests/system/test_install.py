"""`hawse system install` in a mount namespace with /etc and /usr/local of its own, on a machine where systemd does not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.wheel import REPOSITORY

WORLD = """\
set -e
scratch=$1; shift
mount -t tmpfs scratch "$scratch"
for name in etc usr/local; do
    mkdir -p "$scratch/$name.upper" "$scratch/$name.work"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$scratch/$name.upper,workdir=$scratch/$name.work" "/$name"
done
mount -t tmpfs run /run
exec "$@"
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["completes", "refuses", "keeps"])
def test_install(what: str, tmp_path: Path) -> None:
    """See install_world.py for what happens in there."""
    command = [sys.executable, "-m", "tests.system.install_world", what]
    unshare = ["unshare", "--mount", "--propagation", "private", "bash", "-c", WORLD, "world", str(tmp_path)]
    done = subprocess.run([*unshare, *command], cwd=REPOSITORY, capture_output=True, text=True)
    assert not done.returncode, done.stdout[-4000:] + done.stderr[-4000:]
