"""Starting a daemon beside a command when none answers."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping

from hawse.cli.errors import NoDaemon
from hawse.cli.wire.client import absent
from hawse.cli.wire.running import holder

FLAGS = ("host", "root", "run-dir", "instance", "config")
"""The global flags that choose a daemon; one that is started by us gets the same ones."""
DEADLINE = 30.0
"""Seconds that a daemon started by us has to answer."""
_LOG_LINES = 15


def daemon_command(flags: Mapping[str, str]) -> list[str]:
    """The command line of a daemon that the same global flags find again."""
    chosen = [f"--{name}={flags[name]}" for name in FLAGS if name in flags]
    return [sys.executable, "-P", "-m", "hawse.supervisor", *chosen]


def start_detached(run_dir: str, socket_path: str, flags: Mapping[str, str]) -> None:
    """Start a daemon and return when it answers; one that is about to answer is waited for instead.

    Raises NoDaemon, with the end of its log when it is ours.
    """
    if os.geteuid() != 0:
        raise absent(socket_path)
    if _another_answers(run_dir, socket_path):
        return
    import subprocess

    log = os.path.join(run_dir, "daemon.log")
    os.makedirs(run_dir, mode=0o755, exist_ok=True)
    with open(log, "ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            daemon_command(flags),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + DEADLINE
    # The socket's appearance is no event that a process without the daemon's cooperation could wait for.
    while not _answers(socket_path):
        if process.poll() is not None and not _settles(socket_path):
            raise NoDaemon(f"the hawse daemon did not start (exit code {process.returncode}){_tail(log, begin)}")
        if time.monotonic() > deadline:
            raise NoDaemon(
                f"the hawse daemon (pid {process.pid}) does not answer after {DEADLINE:g} s{_tail(log, begin)}"
            )
        time.sleep(0.005)
    if process.poll() is None:
        process.returncode = 0  # it outlives us on purpose; Popen need not warn about it
        print(f"hawse: started the daemon (pid {process.pid}); stop it with 'hawse system shutdown'", file=sys.stderr)


def _another_answers(run_dir: str, socket_path: str) -> bool:
    """Wait for a daemon that is there already: true when it answers, false when there is none (any more)."""
    deadline = time.monotonic() + DEADLINE
    while pid := holder(run_dir):
        if _answers(socket_path):
            return True
        if time.monotonic() > deadline:
            raise NoDaemon(
                f"a hawse daemon (pid {pid}) uses {run_dir}, but does not answer on "
                f"unix://{socket_path} after {DEADLINE:g} s\n"
                "If it listens elsewhere, name its socket with --host or HAWSE_HOST."
            )
        time.sleep(0.02)
    return False


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True


def _settles(path: str) -> bool:
    """Ours ended, perhaps because another command started one at the same moment: that one gets a little time."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        if _answers(path):
            return True
        time.sleep(0.02)
    return False


def _tail(log: str, begin: int) -> str:
    """The last lines that it wrote."""
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return ":\n" + "\n".join(f"  {line}" for line in lines[-_LOG_LINES:]) if lines else f"; see {log}"
