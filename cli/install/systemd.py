"""systemd, as far as the units need it.  There may be none at all, or none that runs (a container, an image being made)."""

from __future__ import annotations

import os
import shutil
import subprocess

from hawse.cli.errors import Failure
from hawse.cli.install.inventory import UNIT_DIRECTORY, UNITS

_OVERRIDES = "/etc/systemd/system"


def is_installed() -> bool:
    return shutil.which("systemctl") is not None


def is_running() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def problems() -> list[str]:
    """Return why the units cannot be what systemd runs."""
    masked = [name for name in UNITS if os.path.realpath(f"{_OVERRIDES}/{name}") == "/dev/null"]
    return [f"{name} is masked: `systemctl unmask {name}`, then again" for name in masked]


def overrides() -> list[str]:
    """Unit files that systemd takes instead of ours."""
    return [path for name in UNITS if os.path.lexists(path := f"{_OVERRIDES}/{name}")]


def main_pid() -> str:
    """Return the pid of the daemon that the unit runs, "" when there is none."""
    pid = _systemctl("show", "--property=MainPID", "--value", UNITS[-1]).strip()
    return "" if pid == "0" else pid


def is_enabled() -> bool:
    return all(_answers("is-enabled", name) for name in UNITS)


def active() -> list[str]:
    return [name for name in UNITS if _answers("is-active", name)]


def reload() -> None:
    """Read the unit files anew.  Raises Failure, as all below do."""
    _systemctl("daemon-reload")


def enable() -> None:
    _systemctl("enable", *UNITS)


def disable() -> None:
    _systemctl("disable", *UNITS)


def restart(names: list[str]) -> None:
    """Start what does not run, too.  Returns when the daemon answers."""
    _systemctl("restart", *names)


def stop(names: list[str]) -> None:
    _systemctl("stop", *names)


def _answers(question: str, name: str) -> bool:
    return not subprocess.run(["systemctl", question, "--quiet", name], capture_output=True).returncode


def _systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip() or f"exit code {done.returncode}"
        raise Failure(f"systemctl {' '.join(arguments)} failed: {told}\nIts files are in {UNIT_DIRECTORY}.")
    return done.stdout
