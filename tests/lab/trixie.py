"""`python -m tests.lab.trixie [PROGRAM...]`: a shell (or PROGRAM) in this checkout, with Debian 13's userland and Python.

So one machine tries hawse with two releases of everything that it stands on: Python, libnftables, libseccomp, iproute2,
util-linux.  Only the kernel is the same.  The root is made once per machine; the virtual environment is the checkout's, in
.cache/trixie, and is made anew when the root or pyproject.toml change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.roots import CACHE, debian_root

SUITE = "trixie"
PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "e2fsprogs",  # chattr
    "iproute2",
    "libnftables1",
    "libseccomp2",
    "nftables",
    "procps",  # kill, pgrep, sysctl
    "python3",
    "python3-venv",
    "zstd",
)
REPOSITORY = CACHE.parent
HOME = CACHE / SUITE
VENV = HOME / "venv"
PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FOREIGN = ("PYTHON", "VIRTUAL_ENV", "LD_", "PYENV_")
"""Beginnings of variables that are about the machine's own programs."""


def inside(root: Path, program: list[str]) -> tuple[list[str], dict[str, str]]:
    """(command line, environment) that run a program there."""
    downloads = Path(os.environ.get("PIP_CACHE_DIR") or Path.home() / ".cache/pip")
    downloads.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    command = [
        *("unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.lab.newroot"),
        *map(
            str, (root, root.parent, REPOSITORY, downloads)
        ),  # beside it is the root that some tests run in containers
        *("--", "env", f"PATH={PATH}", *program),
    ]
    return command, {**kept, "LC_ALL": "C.UTF-8", "PIP_CACHE_DIR": str(downloads)}


def make_venv(root: Path) -> None:
    """Raises RuntimeError with the end of the log."""
    pyproject = (REPOSITORY / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(b"\0".join((pyproject, str(root).encode(), str(REPOSITORY).encode()))).hexdigest()
    stamp, log = HOME / "stamp", HOME / "setup.log"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    sys.stderr.write(f"making {VENV}\n")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    pip = f"{VENV}/bin/pip install --disable-pip-version-check"
    steps = (
        f"python3 -m venv {VENV}",
        f"{pip} 'setuptools>=77'",
        f"{pip} --no-build-isolation --editable '.[dev]'",
    )
    command, environment = inside(root, ["sh", "-exc", "\n".join(steps)])
    with log.open("wb") as out:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        raise RuntimeError(f"no virtual environment with {SUITE}'s Python ({log}):\n{log.read_text()[-3000:]}")
    stamp.write_text(wanted)


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("tests.lab.trixie: needs root: it makes a mount namespace with a root directory of its own")
    try:
        debian_root()  # now: there is no debootstrap inside
        root = debian_root(PACKAGES, SUITE)
        make_venv(root)
    except RuntimeError as e:
        raise SystemExit(f"tests.lab.trixie: {e}") from None
    command, environment = inside(root, sys.argv[1:] or ["bash", "--norc"])
    os.chdir(REPOSITORY)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main()
