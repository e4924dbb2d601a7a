"""A line of `hawse events`: each type of event has its colour there, and its fields a place."""

from __future__ import annotations

from typing import Any

import pytest

from hawse.cli.show.eventline import COLOURS, table_line
from hawse.supervisor.core.events import FACT_TYPES
from tests.unit.test_events_page import EXAMPLES

LEFT_OUT = set(
    """endpoints restarted peak_memory cpu_ns last_lines delay_ns output image_id exec_id took_us container_id event pid
    """.split()
)
"""Fields that a person does not look for in a line; `--format json` has them."""


class Noting(dict[str, Any]):
    """The data of an event, which knows what of it was looked at."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(key)
        return super().get(key, default)


def line(kind: str, data: dict[str, Any], *, colour: bool = False) -> str:
    event = {"type": kind, "subject": "container/c0ffee", "time": "2026-01-31T12:00:00.123456789Z", "data": data}
    return table_line(event, colour)


def test_every_type_has_a_colour() -> None:
    words = {kind.partition(".")[2] for kind in FACT_TYPES} - {"health"} | {"starting", "healthy", "unhealthy"}
    assert words == COLOURS.keys(), "cli/show/eventline.py: green, red or yellow?"


@pytest.mark.parametrize("kind", FACT_TYPES)
def test_every_field_is_shown_or_left_out_on_purpose(kind: str) -> None:
    data = Noting(EXAMPLES[kind]["data"])
    if "image" in data:  # shown in full once only
        data["image"] = EXAMPLES["image.created"]["data"]["image"]
    line(kind, data)
    forgotten = data.keys() - data.seen - LEFT_OUT
    assert not forgotten, f"cli/show/eventline.py does not show {forgotten} of {kind}"


def test_what_was_left_what_was_taken_and_what_is_in_the_way_are_named() -> None:
    web = {"container": {"name": "web"}}
    assert line("network.left", {**web, "network": "front"}).endswith("web                  network=front")
    port = {"host_ip": None, "host_port": 8080, "proto": "tcp"}
    taken = line("network.port_taken", {**web, "port": port, "by": "nginx"})
    assert taken.endswith("by=nginx") and "port=0.0.0.0:8080/tcp" in taken
    obstacles = [{"by": "ip filter FORWARD"}, {"by": "inet firewalld filter_FORWARD"}]
    cut = line("network.obstructed", {"network": {"name": "front"}, "obstacles": obstacles})
    assert cut.endswith('front                obstacles="ip filter FORWARD, inet firewalld filter_FORWARD"')


@pytest.mark.parametrize(("kind", "code"), [("container.exited", 31), ("container.started", 32), ("newer.thing", 33)])
def test_colours(kind: str, code: int) -> None:
    assert f"\x1b[{code}m{kind}" in line(kind, {"container": {"name": "web"}}, colour=True)
