from __future__ import annotations

import random
import re

import pytest

from hawse.supervisor.core import names
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.signal_names import signal_number


def test_ids_are_64_hex_digits_and_never_decimal_in_front() -> None:
    """A hostname of digits only is taken for a number by some programs (docker avoids it too)."""

    class Unlucky(random.Random):
        drawn = 0

        def getrandbits(self, k: int) -> int:
            self.drawn += 1
            return int("1" * 64, 16) if self.drawn == 1 else int("a" + "1" * 63, 16)

    assert names.container_id(Unlucky()) == "a" + "1" * 63


def test_invented_names_are_valid() -> None:
    source = random.Random(1)
    assert all(names.check_container_name(names.container_name(source)) for _ in range(200))


@pytest.mark.parametrize("bad", ["", "a", "-a", "a b", "a/b", "ä1", "a\n"])
def test_bad_names_are_refused_in_dockers_words(bad: str) -> None:
    with pytest.raises(UserError, match=r"Invalid container name"):
        names.check_container_name(bad)


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN+3", 37), ("SIGRTMIN", 34)]
)
def test_signals_as_users_write_them(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("bad", ["", "0", "65", "-1", "FOO", "SIGTERM+x", "99999999"])
def test_bad_signals_are_named(bad: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"invalid signal: {bad}")):
        signal_number(bad)
