"""Which image of an index is for which machine."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hawse.supervisor.core.errors import NotFound, UserError
from hawse.supervisor.images.registry import platforms
from hawse.supervisor.images.registry.platforms import Platform

OWN = platforms.of_machine("x86_64")


@dataclass(frozen=True)
class Entry:
    platform: Platform | None


def entries(*names: str) -> list[Entry]:
    return [Entry(platforms.parse(name, OWN) if name else None) for name in names]


@pytest.mark.parametrize(
    ("machine", "platform"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"), ("riscv64", "linux/riscv64")],
)
def test_machines(machine: str, platform: str) -> None:
    assert str(platforms.of_machine(machine)) == platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/ARM64/v8", "linux/arm64/v8"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
        ("linux", "linux/amd64"),
        ("windows", "windows/amd64"),
    ],
)
def test_what_is_asked_for(text: str, platform: str) -> None:
    assert str(platforms.parse(text, OWN)) == platform


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux/amd64\n"])
def test_bad_platforms(text: str) -> None:
    with pytest.raises(UserError, match=r"invalid platform.*linux/arm64/v8"):
        platforms.parse(text, OWN)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ("windows/amd64", "linux/arm64", "linux/amd64"), 2),
        ("linux/amd64", ("linux/amd64/v3", "linux/amd64"), 1),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v3"), 1),
        ("linux/arm64", ("linux/arm64/v8",), 0),
        ("linux/arm64/v8", ("linux/arm64",), 0),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6", "linux/arm/v8"), 1),
        ("linux/arm/v6", ("linux/arm/v7", "linux/arm/v5"), 1),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), 1),
        ("linux/amd64", ("", "linux/amd64"), 1),
        ("linux/amd64", ("linux/arm64", ""), 1),
        ("linux/amd64", ("linux/amd64", "linux/amd64"), 0),
    ],
)
def test_the_choice(wanted: str, offered: tuple[str, ...], chosen: int) -> None:
    offers = entries(*offered)
    assert platforms.choose(offers, platforms.parse(wanted, OWN)) is offers[chosen]


def test_no_choice_says_what_there_is() -> None:
    offers = [
        *entries("linux/arm64/v8", "linux/amd64/v3", "linux/amd64/v3"),
        Entry(Platform(os="unknown", architecture="unknown")),
    ]
    with pytest.raises(NotFound) as e:
        platforms.choose(offers, OWN)
    assert str(e.value) == (
        "no matching manifest for linux/amd64 in the manifest list entries (there is linux/arm64/v8, linux/amd64/v3)"
    )
    assert not platforms.runs(
        Platform(os="unknown", architecture="unknown"), Platform(os="unknown", architecture="unknown")
    )
