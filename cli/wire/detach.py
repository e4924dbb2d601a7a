"""The keys that leave a program running and give the terminal back: ctrl-p ctrl-q, or what `--detach-keys` says."""

from __future__ import annotations

from hawse.cli.errors import Failure
from hawse.supervisor.api import wire

_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str) -> bytes:
    """`ctrl-x`, `a`, `ctrl-@,ctrl-[`; an empty text means the default.  Raises Failure."""
    return bytes(_key(word) for word in (text or wire.DETACH_KEYS).split(","))


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    letter = word.lower().removeprefix("ctrl-")
    if len(letter) == 1 and word.lower() != letter:
        if "a" <= letter <= "z":
            return ord(letter) - ord("a") + 1
        if letter in _SPECIAL:
            return _SPECIAL[letter]
    raise Failure(f"Unknown character: '{word}' in the detach keys", 125)


class DetachKeys:
    """Looks for the keys in what is typed.  A beginning of them is held back until it is clear what it is."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes to the program, whether the keys are complete)."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
