"""hawse's AppArmor profile: put where the machine loads it at each boot, and into the kernel at once; and the way back."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import subprocess

from hawse.cli.errors import Failure

SOURCE = importlib.resources.files("hawse.supervisor.runtime") / "hawse-default.apparmor"
INSTALLED = "/etc/apparmor.d/hawse-default"
_ENABLED = "/sys/module/apparmor/parameters/enabled"


def is_enabled() -> bool:
    """The kernel has AppArmor, turned on."""
    try:
        with open(_ENABLED) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def load() -> None:
    """Containers get the profile from their next start on.  Safe to repeat.  Raises Failure, OSError."""
    os.makedirs(os.path.dirname(INSTALLED), exist_ok=True)
    fresh = f"{INSTALLED}.new"
    with open(fresh, "w") as file:
        file.write(SOURCE.read_text())
    os.replace(fresh, INSTALLED)
    _parser("--replace", "--write-cache")


def unload() -> None:
    """Take it away again; gone is success.  Raises Failure, OSError.

    What runs under it is unconfined from now on, and until its restart takes no exec.
    """
    if os.path.exists(INSTALLED):
        _parser("--remove")
        os.unlink(INSTALLED)


def _parser(*how: str) -> None:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("apparmor_parser", path=path)
    if program is None:
        raise Failure("apparmor_parser is not installed: apt install apparmor", 1)
    done = subprocess.run([program, *how, INSTALLED], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"apparmor_parser {' '.join(how)} {INSTALLED}: {done.stderr.strip()}", 1)
