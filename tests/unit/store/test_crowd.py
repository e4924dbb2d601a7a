"""Readers at the head are told in one pass; whoever cannot be, reads by itself and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.supervisor.store.crowd import Crowd, Place, Sight

LONG = 60.0


@dataclass
class Outlet:
    """A connection whose socket takes `room` bytes; what does not fit is buffered, as a transport does it."""

    room: int = 1 << 20
    closing: bool = False
    sent: bytes = b""
    buffered: bytes = b""

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.buffered += data
        self._flush()

    def take(self, count: int) -> None:
        """The client reads."""
        self.room += count
        self._flush()

    def get_write_buffer_size(self) -> int:
        return len(self.buffered)

    def is_closing(self) -> bool:
        return self.closing

    def _flush(self) -> None:
        fits, self.buffered = self.buffered[: self.room], self.buffered[self.room :]
        self.sent += fits
        self.room -= len(fits)


@dataclass
class Log:
    """A journal of numbers, of which the newest `kept` are in memory."""

    kept: int = 1 << 20
    head: int = 0
    looks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.crowd = Crowd(lambda: self.head)

    def grow(self, count: int = 1) -> None:
        self.head += count
        self.crowd.tell()

    def look(self, position: int) -> Sight | None:
        self.looks.append(position)
        return None if self.head - position > self.kept else (self.head, lines(position, self.head))

    @asynccontextmanager
    async def standing(self, *places: Place, wish: str = "all", timeout: float = LONG) -> AsyncIterator[list[Place]]:
        """Within the block they stand; the list tells who left by itself."""
        left: list[Place] = []

        async def stand(place: Place) -> None:
            await self.crowd.stand(place, wish, self.look, timeout)
            left.append(place)

        async with anyio.create_task_group() as tasks:
            for place in places:
                tasks.start_soon(stand, place)
            await asyncio.sleep(0)
            yield left
            tasks.cancel_scope.cancel()


def lines(after: int, upto: int) -> bytes:
    return b"".join(b"%d\n" % n for n in range(after + 1, upto + 1))


def place(position: int = 0, **outlet: int | bool) -> Place:
    return Place(Outlet(**outlet), position, 0.0)  # type: ignore[arg-type]


def sent(reader: Place) -> bytes:
    assert isinstance(reader.outlet, Outlet)
    return reader.outlet.sent


async def test_all_are_told_at_once_and_what_they_share_is_made_once() -> None:
    log, readers, other = Log(), [place() for _ in range(100)], place()
    async with log.standing(*readers), log.standing(other, wish="another"):
        log.grow()
        log.grow(2)
        # not one turn of the loop has passed
        assert {sent(reader) for reader in (*readers, other)} == {b"1\n2\n3\n"}
        assert log.looks == [0, 0, 1, 1]
        assert all(reader.told_at > 0 for reader in readers)
    assert not log.crowd


async def test_who_has_not_taken_the_last_goes_on_by_itself() -> None:
    log, slow, quick = Log(), place(room=3), place()
    async with log.standing(slow, quick) as left:
        log.grow(2)
        await asyncio.sleep(0)
        assert not left and (sent(slow), slow.position) == (b"1\n2", 2)
        log.grow()
        await anyio.wait_all_tasks_blocked()
        assert left == [slow] and slow.position == 2
        assert sent(quick) == b"1\n2\n3\n"


async def test_who_wants_nothing_of_it_is_not_bothered() -> None:
    log, reader = Log(), place(room=0)
    assert isinstance(reader.outlet, Outlet)
    reader.outlet.write(b"something else")
    log.look = lambda position: (log.head, b"")  # type: ignore[method-assign]
    async with log.standing(reader) as left:
        log.grow(5)
        await anyio.wait_all_tasks_blocked()
        assert not left and (reader.position, reader.told_at) == (5, 0.0)


async def test_what_is_no_longer_in_memory_is_read_by_itself() -> None:
    log, reader = Log(kept=2), place()
    async with log.standing(reader) as left:
        log.grow(3)
        await anyio.wait_all_tasks_blocked()
        assert left == [reader] and (reader.position, sent(reader)) == (0, b"")


async def test_a_part_of_what_is_new_is_followed_by_the_readers_own_reading() -> None:
    log, reader = Log(), place()
    log.look = lambda position: (position + 1, lines(position, position + 1))  # type: ignore[method-assign]
    async with log.standing(reader) as left:
        log.grow(3)
        await anyio.wait_all_tasks_blocked()
        assert left == [reader] and (reader.position, sent(reader)) == (1, b"1\n")


async def test_a_wish_that_fails_harms_no_other() -> None:
    log, broken, fine = Log(), place(), place()

    def fail(position: int) -> Sight | None:
        raise ValueError(position)

    log.look = fail  # type: ignore[method-assign]
    async with log.standing(broken) as left:
        del log.look
        async with log.standing(fine, wish="another"):
            log.grow()
            await anyio.wait_all_tasks_blocked()
            assert left == [broken] and sent(broken) == b"" and sent(fine) == b"1\n"


async def test_a_client_that_is_gone_is_not_written_to() -> None:
    log, reader = Log(), place(closing=True)
    async with log.standing(reader) as left:
        log.grow()
        await anyio.wait_all_tasks_blocked()
        assert not left and reader.position == 0


async def test_standing_ends_in_time() -> None:
    log, reader = Log(), place()
    await log.crowd.stand(reader, "all", log.look, 0.0)
    assert not log.crowd
    log.grow()
    assert sent(reader) == b""


READERS = 3
steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(1, 6)),
        st.tuples(st.just("turns"), st.integers(1, 4)),
        st.tuples(st.integers(0, READERS - 1), st.integers(1, 30)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("kept", [1, 3, 100])
@given(steps=steps, rooms=st.lists(st.integers(0, 20), min_size=READERS, max_size=READERS))
@settings(deadline=None, max_examples=50)
def test_every_number_once_and_in_order_whoever_reads_when(
    kept: int, steps: list[tuple[str | int, int]], rooms: list[int]
) -> None:
    """Between the head and their own reading readers change as it comes."""

    async def read(log: Log, reader: Place) -> None:
        while True:
            if reader.position < log.head:
                begin, end = reader.position, min(log.head, reader.position + 2)
                await asyncio.sleep(0)  # the database
                reader.position = end
                reader.outlet.write(lines(begin, end))
                while reader.outlet.get_write_buffer_size() > 8:  # a write waits for the client
                    await asyncio.sleep(0)
            else:
                await log.crowd.stand(reader, "all", log.look, LONG)

    async def run() -> None:
        log, readers = Log(kept), [place(room=room) for room in rooms]
        outlets = [reader.outlet for reader in readers]
        async with anyio.create_task_group() as tasks:
            for reader in readers:
                tasks.start_soon(read, log, reader)
            for step, count in steps:
                if step == "commit":
                    log.grow(count)
                elif step == "turns":
                    for _ in range(count):
                        await asyncio.sleep(0)
                else:
                    outlet = outlets[int(step)]
                    assert isinstance(outlet, Outlet)
                    outlet.take(count)
            for reader in readers:
                assert isinstance(reader.outlet, Outlet)
                reader.outlet.take(1 << 20)
            for _ in range(4 * log.head + 20):
                await asyncio.sleep(0)
            assert [sent(reader) for reader in readers] == [lines(0, log.head)] * READERS
            tasks.cancel_scope.cancel()
        assert not log.crowd

    asyncio.run(run())
