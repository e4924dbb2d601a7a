"""Standard input, output and error of a program, made on its side of the namespaces so that they belong to its user.

A pipe made by the host's root could not be opened again through /dev/stdout by the container's.  Stdlib only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hawse.supervisor.linux import rooted
from hawse.supervisor.shim import terminal
from hawse.supervisor.shim.specs import ProcessSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """`inside` becomes 0, 1, 2; `outside` goes to the shim: [master], or [stdout, stderr] and stdin if it is wanted."""

    inside: tuple[int, int, int]
    outside: tuple[int, ...]
    tty: bool

    def own(self, uid: int) -> None:
        """The program's user may open them again (/dev/stdout, /dev/tty), as docker has it.  gid stays (tty, 5).

        Raises OSError: EINVAL for an id that the container's map does not hold.
        """
        shared = () if self.tty or len(self.outside) == 3 else self.inside[:1]  # /dev/null
        for fd in set(self.inside) - set(shared):
            os.fchown(fd, uid, -1)

    def install(self) -> None:
        """Become 0, 1 and 2, in a new session, with the terminal as the controlling one."""
        os.setsid()
        for number, fd in enumerate(self.inside):
            os.dup2(fd, number)
        if self.tty:
            terminal.become_controlling(0)


def make(spec: ProcessSpec, root: int) -> Stdio:
    if spec.tty:
        master, slave = terminal.open_terminal(root)
        if spec.console:  # before the program can ask
            terminal.resize(master, *spec.console)
        return Stdio(inside=(slave, slave, slave), outside=(master,), tty=True)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    if not spec.stdin:
        null = rooted.open_path(root, "/dev/null", os.O_RDONLY)
        return Stdio(inside=(null, out_write, err_write), outside=(out_read, err_read), tty=False)
    in_read, in_write = os.pipe()
    return Stdio(inside=(in_read, out_write, err_write), outside=(out_read, err_read, in_write), tty=False)
