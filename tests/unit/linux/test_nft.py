"""Transactions that are committed together, and what becomes of one that is wrong."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import Future

import pytest

from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.linux import nft
from hawse.supervisor.linux.nft import Nft, NftError


class Recorded(Nft):
    """An Nft whose library is a list; the first call waits until it is let go, so that others queue up."""

    def __init__(self) -> None:
        super().__init__()
        self.executed: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def _execute(self, text: str, flags: int = 0) -> bytes:
        self.begun.set()
        assert self.go.wait(60)
        self.executed.append(text)
        if "wrong" in text:
            raise NftError(text, "Error: Could not process rule: No such file or directory\nwrong\n^^^^^")
        return b""

    async def begin(self, text: str) -> Future[None]:
        """The first call: when this returns it is under way, and what comes from now on queues up."""
        first = self.submit(text)
        assert await asyncio.to_thread(self.begun.wait, 60)
        return first


async def test_what_queues_up_is_committed_together() -> None:
    made = Recorded()
    first = await made.begin("add 0")
    futures = [first, *(made.submit(f"add {n}") for n in range(1, 5))]
    made.go.set()
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert made.executed == ["add 0", "add 1\nadd 2\nadd 3\nadd 4"]
    await made.close()


async def test_one_that_is_wrong_does_not_spoil_the_others() -> None:
    made = Recorded()
    first = await made.begin("first")
    futures = [first, *(made.submit(text) for text in ("good", "wrong", "fine"))]
    made.go.set()
    results = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    assert [type(r) for r in results] == [type(None), type(None), NftError, type(None)]
    assert {"good", "fine"} <= set(made.executed)
    await made.close()


async def test_one_that_nobody_waits_for_any_more_is_left_out() -> None:
    made = Recorded()
    first, second = await made.begin("first"), made.submit("second")
    third = made.submit("third")
    assert second.cancel()
    made.go.set()
    await asyncio.wrap_future(third)
    await asyncio.wrap_future(first)
    assert not any("second" in text for text in made.executed)
    await made.close()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Error: Could not process rule: File exists\nadd ...", errno.EEXIST),
        ("Error: Could not process rule: Operation not permitted", errno.EPERM),
        ("Error: syntax error, unexpected newline", errno.EINVAL),
        ("", errno.EINVAL),
    ],
)
def test_the_librarys_words_become_an_errno(text: str, number: int) -> None:
    error = NftError("add element inet t s { x }", text)
    assert error.errno == number
    assert "add element inet t s" in str(error)


async def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "LIBRARY", "libnftables-that-nobody-has.so.1")
    made = Nft()
    with pytest.raises(Unavailable, match="apt install libnftables1"):
        await made.open()
    with pytest.raises(Unavailable, match="not open"):
        await made.run("add table t")
    await made.close()
