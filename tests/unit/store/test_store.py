"""The store's promises: all or nothing, one commit for many, a clear word when SQLite refuses, nothing lost by a kill."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Bug, Conflict, HawseError, KernelError, Unavailable
from hawse.supervisor.store import connection as connection_module
from hawse.supervisor.store import upkeep
from hawse.supervisor.store.schema import MIGRATIONS
from hawse.supervisor.store.store import Store


def created(container):
    return events.ContainerCreated(container=container)


async def test_state_and_event_commit_together(store, samples):
    def create(tx):
        tx.put(samples.container(1))
        return tx.append(created(samples.container(1)))

    event = await store.transact(create)
    assert (event.seq, event.time) == (1, store.clock())
    assert await store.read(lambda tx: (tx.containers(), tx.events())) == ([samples.container(1)], [event])


async def test_an_exception_takes_everything_back_and_comes_out(store, samples):
    def fail(tx):
        tx.put(samples.container(1))
        tx.append(created(samples.container(1)))
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        await store.transact(fail)
    assert await store.read(lambda tx: (tx.containers(), tx.head())) == ([], 0)
    event = await store.transact(lambda tx: tx.append(created(samples.container(2))))
    assert event.seq == 1  # the number that was rolled back is used: no gap


async def test_callers_share_a_commit_and_one_failure_is_only_its_own(store, samples):
    """Group commit: while one transaction runs, everything that arrives goes into the next."""
    begun, go_on = threading.Event(), threading.Event()
    statements: list[str] = []
    await store._writer.run(lambda connection: connection.set_trace_callback(statements.append))

    def hold(tx):
        begun.set()
        assert go_on.wait(60)

    def put(n):
        def fn(tx):
            tx.put(samples.container(n))
            tx.append(created(samples.container(n)))
            if n == 7:
                raise Conflict("seven")

        return fn

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.transact, hold)
        await asyncio.to_thread(begun.wait, 60)
        outcomes = asyncio.gather(*(store.transact(put(n)) for n in range(20)), return_exceptions=True)
        await asyncio.sleep(0)
        go_on.set()
        results = await outcomes
    assert [isinstance(r, Conflict) for r in results] == [n == 7 for n in range(20)]
    assert statements.count("COMMIT") == 2
    assert [c.name for c in await store.read(lambda tx: tx.containers())] == [f"c{n}" for n in range(20) if n != 7]
    assert [e.seq for e in await store.read(lambda tx: tx.events())] == list(range(1, 20))


async def test_cancelled_callers_leave_whole_transactions(store):
    """Whatever the moment of the cancellation, both rows of a transaction are there or neither, and the store lives."""
    chance = random.Random(4)

    def pair(n):
        def fn(tx):
            tx.put_meta(f"a{n}", "x")
            tx.put_meta(f"b{n}", "x")

        return fn

    async def impatient(n):
        if chance.random() < 0.5:
            with anyio.move_on_after(chance.random() * 0.002):
                await store.transact(pair(n))
        else:
            await store.transact(pair(n))

    async with anyio.create_task_group() as tasks:
        for n in range(200):
            tasks.start_soon(impatient, n)
            if n % 10 == 0:
                await anyio.lowlevel.checkpoint()
    await store.transact(pair("last"))
    found = await store.read(lambda tx: [(tx.meta(f"a{n}"), tx.meta(f"b{n}")) for n in range(200)])
    assert set(found) <= {("x", "x"), ("", "")}
    assert found.count(("x", "x")) >= 50


async def test_the_leader_of_a_batch_may_be_cancelled(store):
    """The race that a group commit invites: who queued the commit goes away before it ran."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx):
        begun.set()
        assert go_on.wait(60)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.transact, hold)
        await asyncio.to_thread(begun.wait, 60)
        leader = asyncio.ensure_future(store.transact(lambda tx: tx.put_meta("leader", "x")))
        follower = asyncio.ensure_future(store.transact(lambda tx: tx.put_meta("follower", "x")))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait_for(follower, 60)
    assert leader.cancelled()
    assert await store.read(lambda tx: tx.meta("follower")) == "x"


async def test_a_failure_that_nobody_waits_for_any_longer_is_no_noise(store):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fail(tx):
        raise Conflict("no")

    caller = asyncio.ensure_future(store.transact(fail))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await store.transact(lambda tx: None)
    gc.collect()
    assert complaints == []


async def test_readers_do_not_wait_for_the_writer_nor_the_writer_for_them(store):
    reading, read_on = threading.Event(), threading.Event()

    def slow(tx):
        before = tx.meta("k")
        reading.set()
        assert read_on.wait(60)
        return before, tx.meta("k")

    async with anyio.create_task_group() as tasks:
        seen = []

        async def read_slowly():
            seen.append(await store.read(slow))

        tasks.start_soon(read_slowly)
        await asyncio.to_thread(reading.wait, 60)
        await store.transact(lambda tx: tx.put_meta("k", "new"))
        assert await store.read(lambda tx: tx.meta("k")) == "new"
        read_on.set()
    assert seen == [("", "")]  # one consistent view from begin to end


async def test_a_read_cannot_change_anything(store):
    with pytest.raises(Bug, match=r"inside store\.read"):
        await store.read(lambda tx: tx.put_meta("k", "v"))
    assert await store.read(lambda tx: tx.meta("k")) == ""


async def test_a_full_disk_is_said_and_survived(store, samples):
    """SQLITE_FULL: nothing half-done, a clear text, and the same writer goes on when there is room again."""
    await store.transact(lambda tx: tx.put_meta("k", "before"))
    pages = await store._writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await store._writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    def big(tx):
        tx.put_meta("k", "after")
        tx.append(created(samples.container(1)))
        tx.put_meta("big", "x" * 200_000)

    for _ in range(2):
        with pytest.raises(Unavailable, match="the disk is full") as caught:
            await store.transact(big)
        assert str(store.path) in str(caught.value)
        assert caught.value.status == 503
    assert await store.read(lambda tx: (tx.meta("k"), tx.head())) == ("before", 0)
    await store._writer.run(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchall())
    await store.transact(big)
    assert await store.read(lambda tx: (tx.meta("k"), tx.head())) == ("after", 1)


async def test_a_full_disk_fails_the_whole_batch_and_each_caller_hears_it(store):
    """SQLite may roll the shared transaction back as a whole: then nobody in it may believe in success."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx):
        begun.set()
        assert go_on.wait(60)

    await store.transact(lambda tx: tx.put_meta("k", "before"))
    pages = await store._writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await store._writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.transact, hold)
        await asyncio.to_thread(begun.wait, 60)
        small = asyncio.ensure_future(store.transact(lambda tx: tx.put_meta("k", "after")))
        big = asyncio.ensure_future(store.transact(lambda tx: tx.put_meta("big", "x" * 200_000)))
        await asyncio.sleep(0)
        go_on.set()
        outcomes = await asyncio.gather(small, big, return_exceptions=True)
    assert isinstance(outcomes[1], Unavailable)
    value = await store.read(lambda tx: tx.meta("k"))
    assert value == ("before" if isinstance(outcomes[0], Unavailable) else "after")


async def test_a_read_only_disk_is_said(store):
    await store._writer.run(lambda c: c.execute("PRAGMA query_only = ON").fetchall())
    with pytest.raises(Unavailable, match="read-only"):
        await store.transact(lambda tx: tx.put_meta("k", "v"))
    await store._writer.run(lambda c: c.execute("PRAGMA query_only = OFF").fetchall())
    await store.transact(lambda tx: tx.put_meta("k", "v"))


async def test_another_process_that_holds_the_lock_is_said(store, monkeypatch):
    await store._writer.run(lambda c: c.execute("PRAGMA busy_timeout = 10").fetchall())
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked by another process"):
        await store.transact(lambda tx: tx.put_meta("k", "v"))
    other.execute("ROLLBACK")
    other.close()
    await store.transact(lambda tx: tx.put_meta("k", "v"))


async def test_a_constraint_that_nobody_foresaw_is_our_bug(store):
    with pytest.raises(Bug, match="NOT NULL"):
        await store.transact(lambda tx: tx.put_meta("k", None))


async def test_the_write_ahead_log_is_copied_back_beside_the_writer(store, monkeypatch):
    monkeypatch.setattr("hawse.supervisor.store.store.CHECKPOINT_EVERY", 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upkeep.keep_checkpointed, store)
        with anyio.fail_after(60):
            for burst in range(10):
                for n in range(20):
                    await store.transact(lambda tx, n=n, burst=burst: tx.put_meta(f"{burst}-{n}", "x" * 5000))
                while store._commits or store._checkpointer.in_flight:
                    await asyncio.sleep(0.001)
        tasks.cancel_scope.cancel()
    # begun anew after every burst; else it would hold each of 200 values in two pages
    assert Path(f"{store.path}-wal").stat().st_size < 200 * 2 * 4096 / 2
    assert await store.read(lambda tx: len(tx.meta("0-0")) + len(tx.meta("9-19"))) == 10_000


async def test_a_closed_store_says_so(tmp_path):
    store = await Store.open(tmp_path / "s.db")
    await store.close()
    await store.close()
    for call in (store.transact, store.read):
        with pytest.raises(Unavailable, match="closed"):
            await call(lambda tx: tx.head())


async def test_everything_asked_before_close_is_done(tmp_path):
    store = await Store.open(tmp_path / "s.db")
    asked = [asyncio.ensure_future(store.transact(lambda tx, n=n: tx.put_meta(f"k{n}", "v"))) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*asked)
    async with await Store.open(tmp_path / "s.db") as again:
        assert await again.read(lambda tx: [tx.meta(f"k{n}") for n in range(50)]) == ["v"] * 50


async def test_the_file_is_for_its_owner_only(store):
    """It holds environments, and they hold secrets."""
    await store.transact(lambda tx: tx.put_meta("k", "v"))
    for suffix in ("", "-wal", "-shm"):
        assert stat.S_IMODE(Path(f"{store.path}{suffix}").stat().st_mode) == 0o600


async def test_use_opens_no_further_descriptors(store):
    """What is open after opening is what stays open; leak checks count them."""

    def count():
        return len(os.listdir("/proc/self/fd"))

    opened = count()
    await asyncio.gather(*(store.read(lambda tx: tx.containers()) for _ in range(10)))
    await store.transact(lambda tx: tx.put_meta("k", "v"))
    await store.checkpoint()
    async for _ in store.journal.follow_seq(0, until=store.journal.head):
        pass
    assert count() == opened


async def test_a_file_that_is_no_database_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "s.db").write_bytes(b"#!/bin/sh\n" * 1000)
    with pytest.raises(Unavailable, match="is not a database") as caught:
        await Store.open(tmp_path / "s.db")
    assert "containers keep running" in caught.value.hint


async def test_a_damaged_database_is_refused_with_a_way_out(tmp_path, samples):
    async with await Store.open(tmp_path / "s.db") as store:
        await store.transact(lambda tx: [tx.put(samples.container(n)) for n in range(200)])
    content = bytearray((tmp_path / "s.db").read_bytes())
    page = content.rindex(samples.container(100).id.encode()) // 4096
    content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(Unavailable, match="is damaged") as caught:
        await Store.open(tmp_path / "s.db")
    assert "--rebuild-state" in caught.value.hint


async def test_a_directory_that_is_missing_is_said(tmp_path):
    with pytest.raises(KernelError, match="No such file or directory"):
        await Store.open(tmp_path / "none" / "s.db")


async def test_a_newer_database_is_refused(tmp_path):
    async with await Store.open(tmp_path / "s.db"):
        pass
    raw = sqlite3.connect(tmp_path / "s.db")
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(Unavailable, match="newer hawse"):
        await Store.open(tmp_path / "s.db")


async def test_a_migration_that_fails_leaves_the_old_version(tmp_path, monkeypatch):
    async with await Store.open(tmp_path / "s.db") as store:
        await store.transact(lambda tx: tx.put_meta("k", "v"))
    monkeypatch.setattr(
        "hawse.supervisor.store.schema.MIGRATIONS",
        (*MIGRATIONS, "CREATE TABLE fresh (x INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);"),
    )
    with pytest.raises(HawseError, match="nowhere"):
        await Store.open(tmp_path / "s.db")
    monkeypatch.undo()
    async with await Store.open(tmp_path / "s.db") as store:
        assert await store.read(lambda tx: tx.meta("k")) == "v"
        tables = await store.read(lambda tx: tx._column("SELECT name FROM sqlite_schema WHERE name = 'fresh'"))
        assert tables == []


async def test_later_migrations_bring_an_old_database_up(tmp_path, monkeypatch):
    async with await Store.open(tmp_path / "s.db") as store:
        await store.transact(lambda tx: tx.put_meta("k", "v"))
    monkeypatch.setattr(
        "hawse.supervisor.store.schema.MIGRATIONS",
        (*MIGRATIONS, "CREATE TABLE fresh (x TEXT) STRICT;\nINSERT INTO fresh SELECT value FROM meta WHERE key = 'k';"),
    )
    async with await Store.open(tmp_path / "s.db") as store:
        assert await store.read(lambda tx: tx._column("SELECT x FROM fresh")) == ["v"]


def test_translating_keeps_the_name_of_what_nobody_foresaw(tmp_path):
    assert "OperationalError" in str(connection_module.translate(sqlite3.OperationalError("odd"), tmp_path))


WRITER = """
import asyncio, sys
from pathlib import Path
from hawse.supervisor.core import events
from hawse.supervisor.store.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    async def work(n):
        while True:
            def fn(tx):
                event = tx.append(events.DaemonStarted(version="1", pid=n))
                tx.put_meta(f"last{n}", str(event.seq))
                return event.seq
            print(await store.transact(fn), flush=True)
    await asyncio.gather(*(work(n) for n in range(8)))

asyncio.run(main())
"""


def write_until_killed(path: Path) -> list[int]:
    """The seqs that a writer reported before it was killed in the middle of group commits."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = [int(process.stdout.readline()) for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        return told + [int(line) for line in process.stdout if line.endswith("\n")]


async def test_a_kill_loses_no_event_that_was_reported(tmp_path):
    """kill -9: what a caller was told is there, without a gap, with the state of the same transaction."""
    for _ in range(3):
        told = write_until_killed(tmp_path / "s.db")
        async with await Store.open(tmp_path / "s.db") as store:
            kept = await store.read(lambda tx: tx.events(limit=100_000))
            assert [e.seq for e in kept] == list(range(1, len(kept) + 1))
            assert set(told) <= {e.seq for e in kept}
            for n in range(8):
                mine = [e.seq for e in kept if e.fact.pid == n]
                assert await store.read(lambda tx, n=n: tx.meta(f"last{n}")) == str(mine[-1])
