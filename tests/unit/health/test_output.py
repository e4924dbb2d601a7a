"""What a health check's program writes."""

from __future__ import annotations

import asyncio
import socket

from hawse.supervisor.health import keeper, rules


async def test_the_beginning_is_kept_and_the_end_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        with theirs:
            theirs.send(b"x" * (rules.MOST_OUTPUT + 1))
        assert await keeper._read(ours) == b"x" * rules.MOST_OUTPUT


async def test_a_program_that_writes_without_end_runs_into_its_deadline() -> None:
    """It had the event loop to itself, and the deadline was never looked at."""

    class Endless(socket.socket):
        def recv(self, *_: int) -> bytes:  # type: ignore[override]
            nonlocal reads
            reads += 1
            return b"y\n" * 1000 if reads < 100_000 else b""

    reads = 0
    ours, theirs = socket.socketpair()
    with theirs, Endless(fileno=ours.detach()) as endless:
        endless.setblocking(False)
        theirs.send(b"y")
        turns = asyncio.create_task(_turns())
        reading = asyncio.create_task(keeper._read(endless))
        await turns
        reading.cancel()
        assert 0 < reads < 100_000


async def _turns() -> None:
    for _ in range(100):
        await asyncio.sleep(0)
