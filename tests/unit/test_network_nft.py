"""Transactions that are committed together, and what becomes of one that is wrong."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest

from hawse.supervisor.errors import Unavailable
from hawse.supervisor.linux import nft
from hawse.supervisor.linux.nft import Nft, NftError


class Recorded(Nft):
    """An Nft whose library is a list; the first call waits until it is let go, so that others queue up."""

    def __init__(self) -> None:
        super().__init__()
        self.executed: list[str] = []
        self.go = threading.Event()

    def _execute(self, text: str, flags: int = 0) -> bytes:
        self.go.wait(5)
        self.executed.append(text)
        if "wrong" in text:
            raise NftError(text, "Error: Could not process rule: No such file or directory\nwrong\n^^^^^")
        return b""


async def test_what_queues_up_is_committed_together() -> None:
    made = Recorded()
    futures = [made.submit(f"add {n}") for n in range(5)]
    made.go.set()
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert sorted("\n".join(made.executed).splitlines()) == [f"add {n}" for n in range(5)]
    assert len(made.executed) < 5
    await made.close()


async def test_one_that_is_wrong_does_not_spoil_the_others() -> None:
    made = Recorded()
    futures = [asyncio.wrap_future(made.submit(text)) for text in ("first", "good", "wrong", "fine")]
    made.go.set()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(r) for r in results] == [type(None), type(None), NftError, type(None)]
    assert {"good", "fine"} <= set(made.executed)
    await made.close()


async def test_one_that_nobody_waits_for_any_more_is_left_out() -> None:
    made = Recorded()
    first, second = made.submit("first"), made.submit("second")
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
