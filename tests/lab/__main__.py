"""`python -m tests.lab [PROGRAM...]`: a shell (or PROGRAM) on the host of a fresh lab with a daemon and busybox in it.

For people: look around with ip, nft and hawse, break things, leave.  With --no-daemon the lab is bare.
"""

from __future__ import annotations

import sys

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab


def main() -> int:
    arguments = sys.argv[1:]
    bare = arguments[:1] == ["--no-daemon"]
    with Lab() as lab:
        if not bare:
            lab.daemon.start()
            lab.hawse("image", "import", busybox_tar(), "busybox")
        program = arguments[bare:] or ["bash", "--norc"]
        process = lab.popen(program, cwd=lab.share, env={"PS1": "lab# "})
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # it has had the signal too


if __name__ == "__main__":
    raise SystemExit(main())
