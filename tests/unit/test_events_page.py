"""docs/events.md has an example of every event, and each has the fields that the event has now."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from hawse.supervisor.core.events import FACT_TYPES
from hawse.supervisor.core.model import ContainerConfig, Image, Network, Volume
from hawse.supervisor.core.wishfields import Shown
from tests.events_page import MARK, PAGE

AGAIN = "the page is stale: python -m tests.events_page"
EXAMPLES: dict[str, dict[str, Any]] = {
    name: json.loads(text)
    for name, text in re.findall(r"^### (\S+)\n.*?^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
}


def names(cls: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(cls)}


def test_every_type_has_an_example_and_nothing_else() -> None:
    assert MARK in PAGE.read_text()
    assert list(EXAMPLES) == list(FACT_TYPES), AGAIN


@pytest.mark.parametrize("kind", FACT_TYPES)
def test_an_example_has_the_fields_of_its_event(kind: str) -> None:
    example = EXAMPLES[kind]
    assert (example["type"], set(example["data"])) == (kind, names(FACT_TYPES[kind])), AGAIN


@pytest.mark.parametrize(
    ("kind", "path", "cls"),
    [
        ("container.created", ("container",), Shown),
        ("container.created", ("container", "config"), ContainerConfig),
        ("network.created", ("network",), Network),
        ("volume.created", ("volume",), Volume),
        ("image.created", ("image",), Image),
    ],
)
def test_an_object_is_shown_in_full_where_it_appears_first(
    kind: str, path: tuple[str, ...], cls: type[msgspec.Struct]
) -> None:
    found = EXAMPLES[kind]["data"]
    for name in path:
        found = found[name]
    assert set(found) == names(cls), AGAIN
