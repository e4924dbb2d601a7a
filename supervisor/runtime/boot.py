"""How the spawner is started: a bare interpreter that sees nothing but itself and our package.

`python -I -S` reads no environment and no site-packages.  BOOT stands in for the namespace package that the installed
distribution or editable install would provide, so that the child side's imports work and nothing else's do.
"""

from __future__ import annotations

import sys
from pathlib import Path

BOOT = """\
import sys
for name, path in (("hawse", []), ("hawse.supervisor", [{supervisor!r}])):
    module = type(sys)(name)
    module.__path__ = path
    sys.modules[name] = module
from hawse.supervisor.shim import spawner
spawner.main({fd}, {scratch!r}, {shims!r})
"""


def command_line(fd: int, scratch: Path, shims: str) -> list[str]:
    """The spawner's argv.

    `fd` is its end of a SEQPACKET socketpair to the daemon, which it must inherit; `scratch` a directory for its rehearsal,
    `shims` the cgroup that shims are forked into.
    """
    supervisor = str(Path(__file__).resolve().parent.parent)
    boot = BOOT.format(supervisor=supervisor, fd=fd, scratch=str(scratch), shims=shims)
    # UTF-8 mode: arguments and paths come as JSON text and must not depend on the daemon's locale.
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", boot]
