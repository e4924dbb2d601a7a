"""What was written with five fields is read as the one wish that it meant, and what is written now has both for readers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events, wishfields
from hawse.supervisor.core.events import Event, cloudevent, decode_fact, encode_fact
from hawse.supervisor.core.model import Exit, State, Verb, Wish, encode
from tests.unit.conftest import Samples, before_wishes

STOP = Wish(verb=Verb.STOP, signal=15, grace=10)
RESTART = Wish(verb=Verb.RESTART, signal=15, grace=10)


MEANT = [
    (State.CREATED, {}, None),
    (State.RUNNING, {"stopped_by_user": True, "ended_by": "stop", "end_signal": 15, "end_grace": 10}, STOP),
    (State.EXITED, {"stopped_by_user": True, "ended_by": "stop", "end_signal": 15, "end_grace": 10}, STOP),
    (State.RUNNING, {"stopped_by_user": True, "ended_by": "restart", "end_signal": 15, "end_grace": 10}, RESTART),
    (State.STARTING, {"ended_by": "restart", "end_signal": 15, "end_grace": 10}, RESTART),
    (State.RUNNING, {"stopped_by_user": True, "ended_by": "kill"}, Wish(verb=Verb.KILL)),
    (State.RUNNING, {"stopped_by_user": True, "ended_by": "remove", "end_signal": 9}, Wish(verb=Verb.REMOVE, signal=9)),
    (State.EXITED, {"ended_by": "shutdown"}, Wish(verb=Verb.SHUTDOWN)),
    (State.REMOVING, {"drops_volumes": True}, Wish(verb=Verb.REMOVE, volumes=True)),
    (
        State.REMOVING,
        {"stopped_by_user": True, "ended_by": "remove", "end_signal": 9, "drops_volumes": True},
        Wish(verb=Verb.REMOVE, signal=9, volumes=True),
    ),
]
"""What both ways of writing can say."""
PASSED = [
    (State.EXITED, {"stopped_by_user": True}, Wish(verb=Verb.STOP)),
    (State.EXITED, {"stopped_by_user": True, "ended_by": "shutdown"}, Wish(verb=Verb.STOP)),
    (State.RESTARTING, {"ended_by": "stop", "end_signal": 15, "end_grace": 10}, None),
    (
        State.DEAD,
        {"stopped_by_user": True, "ended_by": "stop", "end_signal": 15, "drops_volumes": True},
        Wish(verb=Verb.REMOVE, volumes=True),
    ),
]
"""What only the five fields could say, or said otherwise."""


@pytest.mark.parametrize(("state", "fields", "wish"), MEANT + PASSED)
def test_a_record_of_before_says_the_wish(state: State, fields: dict[str, Any], wish: Wish | None) -> None:
    container = Samples().container(state=state)
    renewed = wishfields.renewed(msgspec.json.encode(before_wishes(container, **fields)).decode())
    assert msgspec.json.decode(renewed) == msgspec.json.decode(encode(replace(container, wish=wish)))
    assert wishfields.renewed(renewed) == renewed


@pytest.mark.parametrize(("state", "fields", "wish"), MEANT)
def test_readers_get_the_fields_that_they_know(state: State, fields: dict[str, Any], wish: Wish | None) -> None:
    container = Samples().container(state=state, wish=wish)
    shown = msgspec.json.decode(encode(wishfields.shown(container)))
    assert shown == {**before_wishes(container, **fields), "wish": msgspec.to_builtins(wish)}


@pytest.mark.parametrize("wish", [None, STOP])
def test_a_fact_comes_back_as_it_was(wish: Wish | None) -> None:
    fact = events.ContainerExited(container=Samples().container(wish=wish), exit=Exit(code=0))
    assert decode_fact(fact.TYPE, encode_fact(fact)) == fact
    assert decode_fact(fact.TYPE, encode_fact(fact).decode()) == fact
    event = Event(epoch="e", seq=1, time=1, fact=fact)
    assert msgspec.json.encode(cloudevent(event, "host")["data"]) == encode_fact(fact)


@pytest.mark.parametrize(("state", "fields", "wish"), MEANT + PASSED)
def test_an_event_of_before_says_the_wish(state: State, fields: dict[str, Any], wish: Wish | None) -> None:
    """Though a label is called like the field."""
    config = replace(Samples().container().config, labels={"wish": "null"}, env=('A="wish":null',))
    container = Samples().container(state=state, config=config)
    body = msgspec.json.encode({"container": before_wishes(container, **fields), "endpoints": [], "exit": {"code": 0}})
    fact = decode_fact(events.ContainerExited.TYPE, body)
    assert isinstance(fact, events.ContainerFact) and fact.container == replace(container, wish=wish)
