"""Logs: every byte, both streams apart, followed, cut to a tail, and a flood that is slowed and not lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually


def test_streams_stay_apart(lab: Lab) -> None:
    lab.hawse("run", "--name", "both", "busybox", "sh", "-c", "echo out; echo err >&2")
    shown = lab.hawse("logs", "both")
    assert (shown.out, shown.err) == ("out\n", "err\n")
    lab.hawse("rm", "both")


def test_bytes_are_kept_as_they_are(lab: Lab) -> None:
    data = os.urandom(200_000) + b"\r\n\x00 no newline at the end"
    (lab.share / "bytes").write_bytes(data)
    lab.hawse("run", "--name", "raw", "-v", f"{lab.share}:/in:ro", "busybox", "cat", "/in/bytes")
    assert lab.hawse("logs", "raw").stdout == data
    lab.hawse("rm", "raw")


@pytest.mark.parametrize(("tail", "shown"), [("2", "8\n9\n"), ("0", ""), ("all", "".join(f"{n}\n" for n in range(10)))])
def test_tail(lab: Lab, tail: str, shown: str) -> None:
    lab.hawse("run", "--name", "counted", "busybox", "seq", "0", "9")
    assert lab.hawse("logs", "--tail", tail, "counted").out == shown
    lab.hawse("rm", "counted")


def test_timestamps(lab: Lab) -> None:
    lab.hawse("run", "--name", "stamped", "busybox", "sh", "-c", "echo one; sleep 0.2; echo two")
    lines = lab.hawse("logs", "-t", "stamped").out.splitlines()
    stamps = [re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (one|two)", line) for line in lines]
    assert all(stamps) and len(stamps) == 2
    assert lines == sorted(lines)
    lab.hawse("rm", "stamped")


def test_since_and_until(lab: Lab) -> None:
    # What is read in one go has one time: each line waits until the one before it is in the log.
    script = "for n in 1 2 3; do echo $n; while [ ! -e /seen$n ]; do sleep 0.02; done; done"
    lab.hawse("run", "-d", "--name", "stamped", "busybox", "sh", "-c", script)
    for n in ("1", "2", "3"):
        eventually(lambda n=n: n in lab.hawse("logs", "stamped").out)  # type: ignore[misc]
        lab.hawse("exec", "-d", "stamped", "touch", f"/seen{n}")
    lab.hawse("wait", "stamped")
    stamps = [line.split()[0] for line in lab.hawse("logs", "-t", "stamped").out.splitlines()]
    assert lab.hawse("logs", "--since", stamps[1], "stamped").out == "2\n3\n"
    assert lab.hawse("logs", "--until", stamps[1], "stamped").out.startswith("1\n")
    assert "3" not in lab.hawse("logs", "--until", stamps[1], "stamped").out
    assert lab.hawse("logs", "--since", "1h", "--until", "0s", "stamped").out == "1\n2\n3\n"
    lab.hawse("rm", "stamped")


def test_files_are_as_large_and_as_many_as_asked_for(lab: Lab) -> None:
    flags = ("--log-opt", "max-size=20k", "--log-opt", "max-file=2")
    lab.hawse("run", "-d", "--name", "small", *flags, "busybox", "seq", "1", "20000")
    lab.hawse("wait", "small")
    first = Path(lab.inspect("small")["LogPath"])
    files = [path for path in first.parent.iterdir() if path.name.startswith(first.name)]
    assert len(files) == 2 and all(path.stat().st_size <= 20 << 10 for path in files)
    assert lab.hawse("logs", "small").out.endswith("\n19999\n20000\n")
    lab.hawse("rm", "small")
    refused = lab.hawse("create", "--log-opt", "colour=red", "busybox", "true", check=False)
    assert refused.code and "unknown log opt 'colour' for json-file log driver" in refused.err


def test_without_a_log(lab: Lab) -> None:
    assert lab.hawse("run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "spoken").out == "spoken\n"
    shown = lab.inspect("mute")
    assert (shown["HostConfig"]["LogConfig"]["Type"], shown["LogPath"]) == ("none", "")
    files = [path for path in (lab.root / "containers" / shown["Id"]).rglob("*") if path.is_file()]
    assert not [path for path in files if path.read_bytes().endswith(b"spoken\n")]
    refused = lab.hawse("logs", "mute", check=False)
    assert refused.code == 1 and "configured logging driver does not support reading" in refused.err
    assert lab.hawse("start", "-a", "mute").out == "spoken\n"
    lab.hawse("rm", "mute")


def test_details(lab: Lab) -> None:
    named = ("--log-opt", "labels=tier,none", "--log-opt", "env=WHO", "-l", "tier=a b", "-e", "WHO=me", "-l", "other=x")
    lab.hawse("run", "--name", "told", *named, "busybox", "sh", "-c", "echo out; echo err >&2")
    shown = lab.hawse("logs", "--details", "told")
    assert (shown.out, shown.err) == ("WHO=me,tier=a+b out\n", "WHO=me,tier=a+b err\n")
    lab.hawse("rm", "told")


def test_follow_shows_lines_as_they_come_and_ends_with_the_container(lab: Lab) -> None:
    script = "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo second"
    lab.hawse("run", "-d", "--name", "talker", "busybox", "sh", "-c", script)
    process = lab.popen(["hawse", "logs", "-f", "talker"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"first\n"
        lab.hawse("exec", "-d", "talker", "touch", "/go")
        assert process.stdout.read() == b"second\n"
    assert process.wait(PATIENCE) == 0
    lab.hawse("rm", "talker")


def test_logs_of_a_terminal_are_one_stream(lab: Lab) -> None:
    lab.hawse("run", "-t", "-d", "--name", "tty", "busybox", "sh", "-c", "echo out; echo err >&2")
    lab.hawse("wait", "tty")
    assert lab.hawse("logs", "tty").stdout == b"out\r\nerr\r\n"
    lab.hawse("rm", "tty")


@pytest.mark.slow("100 MB through Python")
@pytest.mark.timeout(180)
def test_a_flood_is_slowed_and_not_lost(lab: Lab) -> None:
    """100 MB through the command line, byte for byte, without the daemon carrying them."""
    size = 100_000_000
    process = lab.popen(
        ["hawse", "run", "--rm", "busybox", "sh", "-c", f"yes 0123456 | head -c {size}"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    line = b"0123456\n"
    got = 0
    daemon = os.pidfd_open(lab.daemon.pid)
    with process.stdout:
        while got < size:
            chunk = process.stdout.read(min(size - got, 8 << 20))  # a multiple of the line's length
            assert chunk and chunk == line * (len(chunk) // 8)
            got += len(chunk)
            signal.pidfd_send_signal(
                daemon, signal.SIGSTOP
            )  # the bytes go from the shim to the client, past the daemon
        signal.pidfd_send_signal(daemon, signal.SIGCONT)
        os.close(daemon)
        assert process.stdout.read() == b""
    assert (got, process.wait(PATIENCE)) == (size, 0)


@pytest.mark.slow("100 MB through Python")
@pytest.mark.timeout(180)
def test_the_log_on_disk_is_bounded_and_keeps_the_newest(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "chatty", "busybox", "sh", "-c", "seq 1 12000000")  # about 100 MB
    lab.hawse("wait", "chatty", timeout=2.5 * PATIENCE)
    identifier = lab.inspect("chatty")["Id"]
    kept = sum(
        p.stat().st_size for p in (lab.root / "containers" / identifier).rglob("*") if "log" in p.name and p.is_file()
    )
    assert 0 < kept < 3 * (16 << 20) + (1 << 20)
    assert lab.hawse("logs", "--tail", "1", "chatty").out == "12000000\n"
    lab.hawse("rm", "chatty")


def test_a_reader_that_stops_reading_does_not_lose_its_data(lab: Lab) -> None:
    """Its pipe full, the program waits, as it would on a terminal; then everything arrives."""
    process = lab.popen(
        ["hawse", "run", "--rm", "--name", "stalled", "busybox", "seq", "1", "500000"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"1\n"
        assert lab.hawse("ps", "-q").out, "still there, waiting for us"
        lines = process.stdout.read().splitlines()
    assert process.wait(PATIENCE) == 0
    assert lines == [b"%d" % n for n in range(2, 500001)]


def test_the_log_is_there_after_a_restart_of_the_daemon(lab: Lab) -> None:
    lab.hawse(
        "run",
        "-d",
        "--name",
        "steady",
        "busybox",
        "sh",
        "-c",
        "echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after",
    )
    eventually(lambda: lab.hawse("logs", "steady").out == "before\n")
    lab.daemon.restart()
    lab.hawse("exec", "-d", "steady", "touch", "/go")
    lab.hawse("wait", "steady")
    assert lab.hawse("logs", "steady").out == "before\nafter\n"
    lab.hawse("rm", "steady")
