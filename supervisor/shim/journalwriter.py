"""A log file whose entries go to systemd's journal as well: `--log-driver journald`.  Stdlib only, as logwriter.py.

The file stays what `logs` and attach read (docker's "dual logging"), so nothing is lost there when journald cannot follow.
In the journal a gap is told by an entry of its own.  A slow journald slows the program down a little; one that stands still
does not, and neither does none: docker's driver would let the program wait for ever.
"""

from __future__ import annotations

import time

from hawse.supervisor.linux.journald import PATH, Journal
from hawse.supervisor.shim.logwriter import LogWriter

PATIENCE = 0.1
"""Seconds that one line may wait for room in journald's socket."""
RESPITE = 2.0
"""Seconds in which nothing is sent, after a line that had to be given up."""

_PRIORITIES = {b"stdout": b"6", b"stderr": b"3"}  # docker's: info, err


class JournalWriter(LogWriter):
    """`fields`: what every entry has, encoded (journald.encode)."""

    def __init__(self, path: str, max_size: int, max_files: int, fields: bytes, journal: str = PATH) -> None:
        self._journal = Journal(journal, patience=PATIENCE)
        self._fields = fields
        self._untold = 0
        self._resume = 0.0
        super().__init__(path, max_size, max_files)

    def close(self) -> None:
        super().close()
        if self._untold:
            self._send(self._gap())
            self._untold = 0
        self._journal.close()

    def _append(self, entries: bytes) -> None:
        super()._append(entries)
        for entry in entries.split(b"\n"):
            if entry:
                self._tell(entry)

    def _tell(self, entry: bytes) -> None:
        if self._untold and time.monotonic() < self._resume:
            self._untold += 1
            return
        when, stream, tag, message = entry.split(b" ", 3)
        text = b"MESSAGE=%b\nPRIORITY=%b\nSYSLOG_TIMESTAMP=%b\n" % (message, _PRIORITIES[stream], when)
        if tag == b"P":
            text += b"CONTAINER_PARTIAL_MESSAGE=true\n"
        if (self._untold and not self._send(self._gap())) or not self._send(text):
            self._untold += 1
            self._resume = time.monotonic() + RESPITE
        else:
            self._untold = 0

    def _gap(self) -> bytes:
        return b"MESSAGE=hawse: %d lines are missing here: journald did not take them\nPRIORITY=4\n" % self._untold

    def _send(self, text: bytes) -> bool:
        try:
            self._journal.send(text + self._fields)
        except OSError:
            return False
        return True
