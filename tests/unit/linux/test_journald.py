"""What the journal is sent, to a socket of our own in its place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.supervisor.linux import journald
from hawse.supervisor.process import log


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "socket"))
        made.settimeout(5)
        yield made


@pytest.fixture
def journal(listener: socket.socket) -> Iterator[journald.Journal]:
    made = journald.Journal(listener.getsockname())
    yield made
    made.close()


def test_values_of_several_lines_are_counted_and_names_made_fit() -> None:
    assert journald.encode({"event": "x", "_took us": "5", "stack": "a\nb"}) == (
        b"EVENT=x\nTOOK_US=5\nSTACK\n\x03\0\0\0\0\0\0\0a\nb\n"
    )


def test_a_small_entry_is_a_datagram_and_a_large_one_a_sealed_file(
    journal: journald.Journal, listener: socket.socket
) -> None:
    journal.send(b"MESSAGE=small\n")
    assert listener.recv(100) == b"MESSAGE=small\n"
    large = b"MESSAGE=" + b"x" * 4_000_000 + b"\n"
    journal.send(large)
    data, (fd,), _, _ = socket.recv_fds(listener, 100, 1)
    assert data == b""
    with pytest.raises(PermissionError):
        os.write(fd, b"more")
    with open(fd, "rb") as file:
        file.seek(0)
        assert file.read() == large


def test_one_that_does_not_read_does_not_hold_us_up(journal: journald.Journal, listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        for _ in range(100_000):
            journal.send(b"MESSAGE=x\n" * 100)


def test_fields_of_a_line() -> None:
    (text, fields), _ = log._with_fields(None, "warning", {"event": "repaired", "container": "27d0de3c2406", "took": 5})
    assert text == '{"event": "repaired", "container": "27d0de3c2406", "took": 5}'
    assert fields == {
        "event": "repaired",
        "container_id": "27d0de3c2406",
        "took": "5",
        "message": text,
        "priority": "4",
        "syslog_identifier": "hawse",
    }


def test_only_the_journal_s_own_stream_counts(tmp_path: Path) -> None:
    status = os.fstat(2)
    assert journald.is_stderr({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not journald.is_stderr({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not journald.is_stderr({})
