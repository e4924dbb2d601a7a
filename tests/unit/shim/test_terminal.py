"""Detach keys: docker's notation, and finding them in any way that the input is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.supervisor.shim.terminal import DEFAULT_DETACH_KEYS, DetachScanner, parse_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (DEFAULT_DETACH_KEYS, b"\x10\x11"),
        ("ctrl-a,d", b"\x01d"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("Ctrl-Z", b"\x1a"),
        ("", b""),
    ],
)
def test_keys(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ctrl-1", "xy", "ü", "a,,b"])
def test_unknown_keys(text: str) -> None:
    with pytest.raises(ValueError, match="unknown key"):
        parse_keys(text)


def scan(keys: bytes, pieces: list[bytes]) -> tuple[bytes, bool]:
    scanner, out = DetachScanner(keys), b""
    for piece in pieces:
        seen, done = scanner.feed(piece)
        out += seen
        if done:
            return out, True
    return out, False


def test_a_beginning_that_comes_to_nothing_is_passed_on() -> None:
    assert scan(b"\x10\x11", [b"a\x10", b"b"]) == (b"a\x10b", False)
    assert scan(b"\x10\x11", [b"\x10\x10\x11x"]) == (b"\x10", True)
    assert scan(b"aab", [b"aaab"]) == (b"a", True)
    assert scan(b"", [b"any"]) == (b"any", False)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3), st.lists(st.binary(max_size=5), max_size=8))
def test_cutting_changes_nothing(keys: bytes, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    out, found = scan(keys, pieces)
    assert (out, found) == scan(keys, [whole])
    assert found == (keys in whole)
    if found:
        assert out == whole[: whole.index(keys)]
    else:
        assert whole.startswith(out)
        assert keys.startswith(whole[len(out) :])
