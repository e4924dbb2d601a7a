"""Reading logs: tails, spans of time, following through rotations, torn entries."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse.supervisor.linux import inotify
from hawse.supervisor.runtime import logfollow, logreader
from hawse.supervisor.runtime.logfollow import LogQuery, read_log
from hawse.supervisor.runtime.logreader import Entry, last_lines, timestamp
from hawse.supervisor.shim.logwriter import LogWriter

DEADLINE = 60.0


async def whole(path: Path, **query: object) -> list[Entry]:
    return [e async for batch in read_log(path, LogQuery(**query)) for e in batch]  # type: ignore[arg-type]


def output(entries: list[Entry]) -> bytes:
    return b"".join(e.output for e in entries)


def fill(path: Path, *chunks: tuple[str, bytes], max_size: int = 0, max_files: int = 3) -> LogWriter:
    writer = LogWriter(str(path), max_size, max_files)
    for stream, data in chunks:
        writer.write(stream, data)
    return writer


async def test_what_was_written_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fill(log, ("stdout", b"one\n"), ("stderr", b"oops\n"), ("stdout", b"two")).close()
    entries = await whole(log)
    assert [(e.stream, e.data, e.partial) for e in entries] == [
        ("stdout", b"one", False),
        ("stderr", b"oops", False),
        ("stdout", b"two", True),
    ]
    assert output(await whole(log, stderr=False)) == b"one\ntwo"
    assert output(await whole(log, stdout=False)) == b"oops\n"


async def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert await whole(tmp_path / "log") == []
    assert await whole(tmp_path / "log", tail=3) == []
    assert last_lines(tmp_path / "log", 3, 100) == ()


async def test_lines_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = fill(log, ("stdout", b"name: "))
    writer.flush_partial()
    writer.write("stderr", b"warning\n")
    writer.write("stdout", b"bob\n")
    writer.write("stdout", b"next\n")
    writer.close()
    assert [(e.data, e.starts_line) for e in await whole(log)] == [
        (b"name: ", True),
        (b"warning", True),
        (b"bob", False),
        (b"next", True),
    ]
    assert last_lines(log, 9, 100) == ("name: bob", "warning", "next")


@pytest.mark.parametrize("max_size", [0, 300])
async def test_the_last_lines(tmp_path: Path, max_size: int) -> None:
    log = tmp_path / "log"
    fill(log, *(("stdout", b"line %d\n" % n) for n in range(20)), max_size=max_size, max_files=9).close()
    assert (len(list(tmp_path.iterdir())) > 1) == bool(max_size)
    for count in (0, 1, 3, 19, 20, 21, 1000):
        expected = [b"line %d" % n for n in range(max(0, 20 - count), 20)]
        assert [e.data for e in await whole(log, tail=count)] == expected
        assert last_lines(log, count, 10_000) == tuple(line.decode() for line in expected)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    chunks=st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from([b"a\n", b"b", b"c\nd\n", b"\n"]))
    ),
    count=st.integers(0, 6),
)
def test_a_tail_is_the_end_of_the_whole(tmp_path: Path, chunks: list[tuple[str, bytes]], count: int) -> None:
    log = tmp_path / "log"
    for old in tmp_path.iterdir():
        old.unlink()
    writer = LogWriter(str(log), 200, 50)
    for stream, data in chunks:
        writer.write(stream, data)
        writer.flush_partial()
    writer.close()
    everything = asyncio.run(whole(log))
    tail = asyncio.run(whole(log, tail=count))
    # Entry for entry; the first one cannot know that it goes on with something before.
    assert [(e.time, e.output) for e in tail] == [(e.time, e.output) for e in everything[len(everything) - len(tail) :]]
    open_, lines = set(), 0
    for entry in tail:
        lines += entry.stream not in open_
        (open_.add if entry.partial else open_.discard)(entry.stream)
    assert lines == min(count, sum(e.starts_line for e in everything))


async def test_a_tail_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that span the blocks that are read from the end."""
    log = tmp_path / "log"
    fill(log, *(("stdout", b"%d" % n * n + b"\n") for n in range(1, 60))).close()
    expected = (await whole(log))[-40:]
    for block in (1, 7, 41, 100):
        monkeypatch.setattr(logreader, "BLOCK", block)
        assert [e.data for e in await whole(log, tail=40)] == [e.data for e in expected]


async def test_spans_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 0, 1)
    for second in range(5):
        monkeypatch.setattr(time, "time_ns", lambda second=second: 1_700_000_000_000_000_000 + second * 10**9)
        writer.write("stdout", b"%d\n" % second)
    writer.close()
    monkeypatch.undo()
    at = [1_700_000_000_000_000_000 + second * 10**9 for second in range(5)]
    assert output(await whole(log, since=at[1], until=at[3])) == b"1\n2\n3\n"
    assert output(await whole(log, since=at[3] + 1)) == b"4\n"
    assert output(await whole(log, until=at[0] - 1)) == b""
    assert (await whole(log))[0].time == timestamp(at[0]) == "2023-11-14T22:13:20.000000000Z"


async def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"2026-01-01T00:00:00.0\ngarbage\n\n2026-01-01T00:00:00.000000000Z stdin F x\n")
    fill(log, ("stdout", b"good\n")).close()
    assert [e.data for e in await whole(log)] == [b"good"]
    assert last_lines(log, 5, 100) == ("good",)


def test_last_lines_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fill(log, *(("stdout", b"x" * 50_000 + b"\n") for _ in range(4)), ("stdout", b"end\n")).close()
    lines = last_lines(log, 10, 1000)
    assert lines[-1] == "end"
    assert sum(map(len, lines)) <= 2000


async def test_the_tail_of_a_long_log_is_sought_while_others_have_their_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fill(log, ("stdout", b"a line\n" * 1000)).close()
    begun = asyncio.Event()
    asyncio.get_running_loop().call_soon(begun.set)
    async with contextlib.aclosing(read_log(log, LogQuery(tail=1000))) as batches:
        first = await anext(batches)
    assert len(first) == 1000 and begun.is_set()


class Follower:
    """Collects what a follower is told, in a task."""

    def __init__(self, path: Path, **query: object) -> None:
        self.ended = asyncio.Event()
        self.said = b""
        self.task = asyncio.ensure_future(self._run(path, LogQuery(**query)))  # type: ignore[arg-type]

    async def _run(self, path: Path, query: LogQuery) -> None:
        async with contextlib.aclosing(read_log(path, query, self.ended)) as batches:
            async for batch in batches:
                self.said += output(batch)

    async def until(self, end: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self.said.endswith(end):
                await asyncio.sleep(0.001)

    async def finish(self) -> bytes:
        self.ended.set()
        await asyncio.wait_for(self.task, DEADLINE)
        return self.said


@pytest.fixture(params=["inotify", "no instances left"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "inotify":

        def refuse(*_: object) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(inotify, "_check", refuse)
        monkeypatch.setattr(logfollow, "POLL", 0.01)


@pytest.mark.usefixtures("either_way")
async def test_following(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = fill(log, ("stdout", b"before\n"))
    follower = Follower(log)
    await follower.until(b"before\n")
    writer.write("stdout", b"now\n")
    await follower.until(b"now\n")
    writer.write("stdout", b"prompt> ")
    writer.flush_partial()
    await follower.until(b"prompt> ")
    writer.write("stdout", b"last\n")
    writer.close()
    assert await follower.finish() == b"before\nnow\nprompt> last\n"


@pytest.mark.usefixtures("either_way")
async def test_following_a_log_that_does_not_exist_yet(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "log", tail=5)
    await asyncio.sleep(0.01)
    writer = fill(tmp_path / "log", ("stdout", b"first\n"))
    await follower.until(b"first\n")
    writer.close()
    assert await follower.finish() == b"first\n"


@pytest.mark.parametrize("files", [2, 4])
async def test_following_through_rotations(tmp_path: Path, files: int) -> None:
    """Every line once and in order while the file changes under the reader."""
    log = tmp_path / "log"
    writer = LogWriter(str(log), 2000, files)
    follower = Follower(log)
    expected = b""
    for number in range(300):
        line = b"line %d\n" % number
        expected += line
        writer.write("stdout", line)
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 20 == 0:
            await follower.until(line)
    writer.close()
    assert await follower.finish() == expected


async def test_rotated_away_while_nobody_looked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = LogWriter(str(log), 300, 2)
    writer.write("stdout", b"first\n")
    follower = Follower(log)
    await follower.until(b"first\n")
    for number in range(200):
        writer.write("stdout", b"line %d\n" % number)
    writer.close()
    said = await follower.finish()
    assert said.startswith(b"first\nline ") and said.endswith(b"line 198\nline 199\n")


async def test_only_new_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = fill(log, ("stdout", b"old\n"))
    follower = Follower(log, tail=0)
    written = []
    async with asyncio.timeout(DEADLINE):
        while not follower.said:  # what is written before it has looked where the end is, is old
            written.append(b"new %d\n" % len(written))
            writer.write("stdout", written[-1])
            await asyncio.sleep(0.01)
    writer.close()
    said = await follower.finish()
    assert said == b"".join(written[-said.count(b"\n") :])


async def test_following_until_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = fill(log, ("stdout", b"early\n"))
    follower = Follower(log, until=time.time_ns() + 100_000_000)
    await asyncio.wait_for(follower.task, DEADLINE)
    assert follower.said == b"early\n"
    writer.close()


async def test_followers_let_go_of_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = fill(log, ("stdout", b"x\n"), max_size=30)
    fds = len(os.listdir("/proc/self/fd"))
    followers = [Follower(log) for _ in range(10)]
    for follower in followers:
        await follower.until(b"x\n")
    assert len(os.listdir("/proc/self/fd")) > fds
    for follower in followers[:5]:
        follower.task.cancel()
    await asyncio.gather(*(f.finish() for f in followers[5:]))
    await asyncio.gather(*(f.task for f in followers[:5]), return_exceptions=True)
    async with asyncio.timeout(DEADLINE):
        while len(os.listdir("/proc/self/fd")) > fds:  # inotify instances are closed in a thread
            await asyncio.sleep(0.005)
    writer.close()
