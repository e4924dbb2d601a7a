"""An earlier build of hawse, out of the git history, for what a daemon takes over from the one before it.

It is kept in .cache/builds, below the checkout: a lab has a /tmp of its own and sees the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILDS = REPOSITORY / ".cache" / "builds"
PACKAGES = ("supervisor", "handlers", "cli")


def build(revision: str) -> Path:
    """The interpreter that runs that revision as `-m hawse.supervisor`, with today's dependencies.

    Skips the test where the history does not have it: in an archive, or a shallow clone.
    """
    place = BUILDS / f"{revision}-{sys.implementation.cache_tag}"
    if not place.exists():
        try:
            packed = subprocess.run(
                ["git", "-C", REPOSITORY, "archive", revision, *PACKAGES], capture_output=True, check=True, timeout=60
            ).stdout
        except (OSError, subprocess.CalledProcessError) as e:
            pytest.skip(f"no build of {revision} without its history: {getattr(e, 'stderr', b'') or e}")
        partial = place.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "sources" / "hawse").mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", partial / "sources" / "hawse"], input=packed, check=True, timeout=60)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", partial], check=True, timeout=60)
        (packages,) = partial.glob("lib/python*/site-packages")
        # Directories that a .pth file names are not searched for further .pth files, so today's hawse is not found.
        paths = [str(partial / "sources"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        (packages / "earlier.pth").write_text("".join(f"{os.path.relpath(path, packages)}\n" for path in paths))
        partial.rename(place)
    return place / "bin" / "python"
