"""What a container says reaches the journal's socket entry by entry, and who does not read it holds nobody up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.supervisor.linux import journald
from hawse.supervisor.shim import journalwriter
from hawse.supervisor.shim.journalwriter import JournalWriter

FIELDS = journald.encode({"CONTAINER_NAME": "web", "two\nlines": "a\nb"})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "socket"))
        bound.setblocking(False)
        yield bound


@pytest.fixture
def writer(tmp_path: Path, journal: socket.socket) -> Iterator[JournalWriter]:
    made = JournalWriter(str(tmp_path / "log"), 0, 1, FIELDS, str(tmp_path / "socket"))
    yield made
    made.close()


def entries(journal: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(journal.recv(1 << 20))
        except BlockingIOError:
            return found


def messages(journal: socket.socket) -> list[str]:
    return [entry.partition(b"\n")[0].removeprefix(b"MESSAGE=").decode() for entry in entries(journal)]


def test_an_entry_for_each_line(writer: JournalWriter, journal: socket.socket, tmp_path: Path) -> None:
    writer.write("stdout", b"one\n\ntwo")
    writer.write("stderr", b"bad \xff byte\n")
    writer.close()
    first, empty, bad, two = entries(journal)
    assert first.startswith(b"MESSAGE=one\nPRIORITY=6\nSYSLOG_TIMESTAMP=20") and first.endswith(FIELDS)
    assert empty.startswith(b"MESSAGE=\n")
    assert bad.startswith(b"MESSAGE=bad \xff byte\nPRIORITY=3\n")
    assert b"CONTAINER_PARTIAL_MESSAGE=true\n" in two and b"PARTIAL" not in first
    assert len((tmp_path / "log").read_bytes().splitlines()) == 4, "the file has them as well"


def test_who_does_not_read_holds_nobody_up(
    writer: JournalWriter, journal: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journalwriter, "RESPITE", 3600.0)
    began = time.monotonic()
    for number in range(3000):
        writer.write("stdout", b"%d\n" % number)
    assert time.monotonic() - began < 30, "one line waited, not each"
    read = messages(journal)
    assert 0 < len(read) < 3000 and read == [str(n) for n in range(len(read))]
    writer._resume = 0.0
    writer.write("stdout", b"again\n")
    assert messages(journal) == [
        f"hawse: {3000 - len(read)} lines are missing here: journald did not take them",
        "again",
    ]
    assert len((tmp_path / "log").read_bytes().splitlines()) == 3001, "the file lacks none"


def test_without_a_journal_the_file_goes_on(writer: JournalWriter, journal: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "socket").unlink()
    writer.write("stdout", b"one\n")
    writer.close()
    assert (tmp_path / "log").read_bytes().endswith(b" stdout F one\n")
