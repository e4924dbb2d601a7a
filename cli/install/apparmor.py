"""AppArmor, as far as hawse's default profile needs it: into the kernel now, and at each boot from where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess

from hawse.cli.install.inventory import PROFILE

_NAME = os.path.basename(PROFILE)
_ENABLED = "/sys/module/apparmor/parameters/enabled"
_LOADED = "/sys/kernel/security/apparmor/profiles"


def is_enabled() -> bool:
    """The kernel has AppArmor, turned on."""
    try:
        with open(_ENABLED) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def is_loaded() -> bool:
    """Containers that start run under the profile."""
    try:
        with open(_LOADED) as file:
            return any(line.startswith(f"{_NAME} (") for line in file)
    except OSError:
        return False


def load() -> str:
    """Containers get the installed profile from their next start on; safe to repeat.  "" or why they do not."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("apparmor_parser", path=path)
    if program is None:
        return "apparmor_parser is not installed (apt install apparmor)"
    done = subprocess.run([program, "--replace", "--write-cache", PROFILE], capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"apparmor_parser ended with {done.returncode}" if done.returncode else ""
