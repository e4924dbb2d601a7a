"""The shim's event loop."""

from __future__ import annotations

import os

from hawse.supervisor.shim.loop import HANGUP, READ, Loop


def test_a_number_that_is_used_again_gets_no_event_of_its_predecessor() -> None:
    """Two pipes end in one batch; the call for either closes the other, and a third gets that one's number."""
    loop = Loop()
    pipes = [os.pipe(), os.pipe()]
    fresh_read, fresh_write = os.pipe()
    seen: list[tuple[str, int]] = []

    def ended(own: int, other: int) -> None:
        seen.append(("old", own))
        for fd in (own, other):
            loop.forget(fd)
        os.close(own)
        os.dup2(fresh_read, other)
        loop.watch(other, READ, lambda events: seen.append(("new", events)))

    first, second = (read for read, _ in pipes)
    loop.watch(first, READ, lambda _: ended(first, second))
    loop.watch(second, READ, lambda _: ended(second, first))
    for _, write in pipes:
        os.close(write)
    loop.turn()
    assert [who for who, _ in seen] == ["old"]
    os.write(fresh_write, b"x")
    loop.turn()
    assert seen[1:] == [("new", READ)] and not seen[1][1] & HANGUP
    loop.close()
    for fd in (seen[0][1] ^ first ^ second, fresh_read, fresh_write):
        os.close(fd)


def test_changing_a_watch_keeps_its_event() -> None:
    loop = Loop()
    pipes = [os.pipe(), os.pipe()]
    seen: list[int] = []
    reads = [read for read, _ in pipes]

    def ready(fd: int) -> None:
        seen.append(fd)
        for other in reads:
            loop.watch(other, READ, lambda _, fd=other: seen.append(fd))

    for fd in reads:
        loop.watch(fd, READ, lambda _, fd=fd: ready(fd))
    for _, write in pipes:
        os.write(write, b"x")
    loop.turn()
    assert sorted(seen) == sorted(reads)
    loop.close()
    for read, write in pipes:
        os.close(read)
        os.close(write)
