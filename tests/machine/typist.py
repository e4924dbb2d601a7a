"""Typed into the machine's bash at a terminal, a line at a time, by somebody who reads what it answers.  Runs inside."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time

PROMPT = re.compile(rb"<<(\d+)>> \Z")
INSIDE = re.compile(rb"[#$] (\x1b\[6n)?\Z")  # the prompt of a shell in a container; busybox asks where the cursor is
PATIENCE = 240.0
PAUSE = 2.0  # between an answer and the next line


def main(lines: list[str]) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(PS1="<<$?>> ", TERM="dumb", COLUMNS="200")
        os.execvp("bash", ["bash", "--norc", "--noprofile"])
    read(terminal, PROMPT)
    for line in lines:
        time.sleep(PAUSE)
        os.write(terminal, line.encode() + b"\n")
        if " run -it " in line:
            read(terminal, INSIDE)
            os.write(terminal, b"exit\n")
        if code := int(read(terminal, PROMPT)[1]):
            sys.stdout.write(f"\n{line}\n→ exit code {code}\n")
            return 1
    return 0


def read(terminal: int, wanted: re.Pattern[bytes]) -> re.Match[bytes]:
    seen = b""
    deadline = time.monotonic() + PATIENCE
    while not (match := wanted.search(seen)):
        if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise SystemExit(f"nothing like {wanted.pattern!r} after {PATIENCE} s")
        seen += (piece := os.read(terminal, 65536))
        os.write(1, piece)
    return match


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read().splitlines()))
