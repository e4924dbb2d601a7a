"""The `hawse` program of this installation: what the units execute, so root has to be able to rely on it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from importlib.metadata import distributions

from hawse.cli.errors import Failure
from hawse.supervisor.api import wire

_PLAIN = re.compile(r"[A-Za-z0-9/._+@=-]+\Z")
"""What a unit file takes as it stands: no blank, no `%`, no quote (systemd.service(5), COMMAND LINES)."""


def program() -> str:
    """Return its absolute path, from the record that pip leaves: `argv[0]` may be anything.  Raises Failure."""
    for record in distributions(name="hawse"):  # beside a source tree there is a second one, which knows no program
        for file in record.files or ():
            if file.name == "hawse" and file.parent.name == "bin":
                return os.path.normpath(os.path.abspath(file.locate()))
    raise Failure("cannot tell where the hawse program is: pip has no record of it. Install hawse with pip, then again")


def program_problems(path: str) -> list[str]:
    """Return why root's units cannot execute it; [] when they can."""
    problems = []
    if not _PLAIN.match(path):
        problems.append(f"{path!r}: a unit cannot name this path plainly; make the virtual environment elsewhere")
    if reason := _not_roots(os.path.realpath(path)):
        problems.append(
            f"{path}: {reason}; whoever can write it would be root. Install hawse as root, as in /opt/hawse"
        )
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
        answer = (told.stdout or told.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as e:
        answer = str(e)
    if answer != f"hawse version {wire.VERSION}":
        problems.append(
            f"{path} does not run ({answer or 'it says nothing'}). Was its virtual environment moved? Make it anew"
        )
    return problems


def _not_roots(path: str) -> str:
    """Say whether somebody else than root can write it, or swap it in one of its directories; a sticky one (/tmp) will do."""
    while True:
        try:
            status = os.stat(path)
        except OSError as e:
            return e.strerror or str(e)
        if status.st_uid != 0:
            return f"{path} is not owned by root (uid {status.st_uid})"
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"{path} is writable by everybody"
        if path == "/":
            return ""
        path = os.path.dirname(path)
