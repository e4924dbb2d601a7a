"""Cursors and the epochs in them: none is honoured that would jump, and a power failure begins another epoch."""

from __future__ import annotations

import pytest

from hawse.supervisor.core.errors import Gone, UserError
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.store import Store
from tests.unit.store.journals import append

E1, E2, E3 = "1" * 32, "2" * 32, "3" * 32


def test_a_cursor_names_epoch_and_seq():
    epochs = Epochs(((1, E1), (101, E2)))
    assert [epochs.of(n) for n in (0, 1, 100, 101, 500)] == [E1, E1, E1, E2, E2]
    assert epochs.cursor(100) == f"{E1}-100"
    assert epochs.parse(f"{E2}-150", oldest=1, head=200) == 150


@pytest.mark.parametrize(
    "cursor", ["", "x", E1, f"{E1}-", f"{E1}-x", f"{E1}--1", f"{E1[1:]}-1", f"{E1}-1\n", f"{E1}-1 "]
)
def test_what_is_no_cursor_is_the_users_error(cursor):
    with pytest.raises(UserError, match="invalid cursor"):
        Epochs(((1, E1),)).parse(cursor, oldest=1, head=5)


@pytest.mark.parametrize(
    ("cursor", "why"),
    [
        (f"{E3}-5", "no epoch"),
        (f"{E1}-8", "up to 9 were pruned"),
        (f"{E1}-101", "ends with 100"),
        (f"{E2}-99", "ends with 200"),
        (f"{E2}-201", "ends with 200"),
    ],
)
def test_a_cursor_that_would_jump_is_gone(cursor, why):
    epochs = Epochs(((1, E1), (101, E2)))
    with pytest.raises(Gone, match=why) as caught:
        epochs.parse(cursor, oldest=10, head=200)
    assert caught.value.oldest == f"{E1}-9"
    assert epochs.parse(caught.value.oldest, oldest=10, head=200) == 9


def test_the_ends_of_epochs_are_cursors():
    epochs = Epochs(((1, E1), (101, E2)))
    for cursor, seq in ((f"{E1}-9", 9), (f"{E1}-100", 100), (f"{E2}-100", 100), (f"{E2}-200", 200)):
        assert epochs.parse(cursor, oldest=10, head=200) == seq


async def test_a_clean_reboot_keeps_the_epoch(tmp_path):
    async with await Store.open(tmp_path / "s.db", boot_id="b1") as store:
        (event,) = await append(store, 1)
    async with await Store.open(tmp_path / "s.db", boot_id="b2") as store:
        assert store.journal.parse(event.id) == 1
        assert (await append(store, 2))[0].epoch == event.epoch


async def test_a_killed_daemon_keeps_the_epoch(tmp_path):
    """kill -9 loses no commit; only a power failure can."""
    store = await Store.open(tmp_path / "s.db", boot_id="b1")
    (event,) = await append(store, 1)
    again = await Store.open(tmp_path / "s.db", boot_id="b1")
    assert again.journal.parse(event.id) == 1
    await again.close()
    await store.close()


async def test_after_a_power_failure_lost_events_are_gone_and_older_ones_keep_their_ids(tmp_path):
    store = await Store.open(tmp_path / "s.db", boot_id="b1")
    kept, seen = await append(store, 1, 2)
    await store._writer.run(lambda c: c.execute("DELETE FROM events WHERE seq = 2"))  # what was not on the disk yet
    again = await Store.open(tmp_path / "s.db", boot_id="b2")
    (fresh,) = await append(again, 3)
    assert fresh.seq == 2
    assert fresh.epoch != kept.epoch
    assert [e.id async for e in again.journal.follow(until=2)] == [kept.id, fresh.id]
    assert [e.id async for e in again.journal.follow(kept.id, until=2)] == [fresh.id]
    with pytest.raises(Gone, match="ends with 1"):
        again.journal.follow(seen.id)
    await again.close()
    await store.close()
