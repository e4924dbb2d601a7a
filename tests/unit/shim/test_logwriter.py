"""The log as written: entries, partials, rotation, torn ends, a full disk."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse.supervisor.shim.logwriter import LONGEST_PARTIAL, LogWriter

ENTRY = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)", re.DOTALL)


def entries(*paths: Path) -> list[tuple[str, str, bytes]]:
    out = []
    for path in paths:
        for line in path.read_bytes().split(b"\n")[:-1]:
            match = ENTRY.fullmatch(line)
            assert match, line
            out.append((match[2].decode(), match[3].decode(), match[4]))
    return out


def said(found: list[tuple[str, str, bytes]], stream: str) -> bytes:
    return b"".join(data + (b"\n" if tag == "F" else b"") for s, tag, data in found if s == stream)


def test_lines_and_partials(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 0, 1)
    writer.write("stdout", b"one\ntwo\nthr")
    writer.write("stderr", b"oops\n")
    assert writer.has_partial
    writer.write("stdout", b"ee\n\n")
    writer.write("stdout", b"login: ")
    writer.flush_partial()
    assert not writer.has_partial
    writer.close()
    writer.close()
    assert entries(log) == [
        ("stdout", "F", b"one"),
        ("stdout", "F", b"two"),
        ("stderr", "F", b"oops"),
        ("stdout", "F", b"three"),
        ("stdout", "F", b""),
        ("stdout", "P", b"login: "),
    ]


def test_a_very_long_line_does_not_wait_for_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 0, 1)
    for _ in range(9):
        writer.write("stdout", b"x" * 4096)
    assert entries(log) == [("stdout", "P", b"x" * (LONGEST_PARTIAL + 4096))]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=40) | st.just(b"a\nb\n"))))
def test_every_byte_comes_back(tmp_path: Path, chunks: list[tuple[str, bytes]]) -> None:
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    writer = LogWriter(str(log), 0, 1)
    for stream, data in chunks:
        writer.write(stream, data)
    writer.close()
    for stream in ("stdout", "stderr"):
        assert said(entries(log), stream) == b"".join(d for s, d in chunks if s == stream)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_rotation_keeps_the_newest_files(tmp_path: Path, files: int) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 400, files)
    for number in range(100):
        writer.write("stdout", b"line %d\n" % number)
    writer.close()
    kept = [tmp_path / f"log.{n}" for n in range(files - 1, 0, -1)] + [log]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(path.stat().st_size <= 400 for path in kept)
    lines = [data for _, _, data in entries(*kept)]
    assert lines == [b"line %d" % n for n in range(100 - len(lines), 100)]
    assert len(lines) > (files - 1) * 5


def test_rotation_makes_a_new_inode(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 60, 1)
    writer.write("stdout", b"first\n")
    with open(log) as held:  # so that the number is not used again
        writer.write("stdout", b"second\n")
        assert os.fstat(held.fileno()).st_ino != log.stat().st_ino
    writer.close()


def test_a_torn_entry_is_ended_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F half a li")
    writer = LogWriter(str(log), 0, 1)
    writer.write("stdout", b"next\n")
    writer.close()
    assert entries(log) == [("stdout", "F", b"half a li"), ("stdout", "F", b"next")]


def test_a_full_disk_loses_whole_entries_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 0, 1)
    writer.write("stdout", b"before\n")
    write = os.write
    room = 10

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count, room = write(fd, bytes(data)[:room]), 0
        return count

    monkeypatch.setattr(os, "write", full)
    writer.write("stdout", b"lost\n")
    writer.write("stdout", b"lost too\n")
    assert writer.lost > 0
    monkeypatch.setattr(os, "write", write)
    writer.write("stdout", b"after\n")
    assert writer.lost == 0
    writer.close()
    found = entries(log)
    assert found[0] == ("stdout", "F", b"before")
    assert found[1][0] == "stderr" and b"bytes of output were lost here: No space left on device" in found[1][2]
    assert found[2:] == [("stdout", "F", b"after")]


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        LogWriter(str(tmp_path / "log"), 0, 1)


def test_the_writer_imports_nothing_heavy() -> None:
    """The shim's memory is counted per container."""
    code = (
        "import os, sys; before=set(sys.modules); sys.path.insert(0, sys.argv[1]); import logwriter;"
        "print(sorted(set(sys.modules) - before - {'logwriter', 'time'}))"
    )
    folder = Path(__file__).parents[3] / "supervisor/shim"
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['__future__']"
