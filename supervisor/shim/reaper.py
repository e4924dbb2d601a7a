"""PID 1 for programs that do not reap (`--init`): forks the program, forwards signals, collects orphans, ends with it.

Stdlib only; runs with the program's own credentials and seccomp filter, and with no descriptor but what it needs: none.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from hawse.supervisor.linux import apparmor
from hawse.supervisor.linux.syscalls import close_range
from hawse.supervisor.shim.protocol import Socket

_NOT_FORWARDED = {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP}

# faults of the reaper's own, and those that nobody can block
_NOT_BLOCKED = {getattr(signal, f"SIG{name}") for name in ("KILL", "STOP", "SEGV", "BUS", "FPE", "ILL")}


def split(channel: Socket, label: list[int], profile: str) -> None:
    """Returns in the child only, which is to execute the program; the parent stays as the reaper until the child ends.

    `label`: what apparmor.open_current gave.  The program may signal only who is under its own profile, so the reaper is.
    """
    signals = set(signal.Signals) - _NOT_BLOCKED
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child:
        for fd in label:
            apparmor.confine(fd, profile)
        # The shim takes the end of the channel for the success of exec, and that of the pipes for the end of output.
        close_range(0)
        _reap(child, signals)
    foreground = os.isatty(0)
    os.setpgid(0, 0)
    if foreground:
        os.tcsetpgrp(0, os.getpid())


def _reap(child: int, signals: set[signal.Signals]) -> NoReturn:
    while True:
        number = signal.sigwait(signals)
        if number not in _NOT_FORWARDED:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(1)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
