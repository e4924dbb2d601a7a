"""Filters over stored events, and the composed documents they travel in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.events import Event, Fact, cloudevent, encode_fact
from hawse.supervisor.core.model import Exit
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.journal.envelope import composer
from hawse.supervisor.journal.eventfilter import parse
from hawse.supervisor.store.epochs import Epochs

EPOCH = "e" * 32


def stored(fact: Fact, seq: int = 7) -> Stored:
    return Stored(seq, 1_700_000_000_000_000_005, fact.TYPE, fact.subject, "", encode_fact(fact))


@pytest.fixture
def told(samples: Any) -> dict[str, Stored]:
    container = samples.container(1)
    web = replace(container, name="web", config=replace(container.config, labels={"tier": "front", "a": "b"}))
    network = samples.network(1, labels={"tier": "front"})
    endpoint = samples.endpoint(web, network)
    return {
        "started": stored(facts.ContainerStarted(container=web, endpoints=(endpoint,))),
        "well": stored(facts.ContainerExited(container=web, exit=Exit(code=0))),
        "ill": stored(facts.ContainerExited(container=samples.container(2), exit=Exit(code=3))),
        "connected": stored(facts.NetworkConnected(container=web, endpoint=endpoint)),
        "made": stored(facts.NetworkCreated(network=network)),
        "mended": stored(facts.NetworkRepaired(object="link x", missing="gone", took_us=1, container_id=web.id)),
        "hook": stored(facts.HookDead(handler="notify", event="x")),
    }


@pytest.mark.parametrize(
    ("expressions", "passing"),
    [
        ([], "started well ill connected made mended hook"),
        (["type=container.*"], "started well ill"),
        (["type=container"], "started well ill"),
        (["type=container.started", "type=network.created"], "started made"),
        (["event=die"], "well ill"),
        (["event=connected"], "connected"),
        (["type=container", "event=connected"], ""),
        (["container=web"], "started well connected"),
        (["container=0001aaaa"], "started well connected mended"),
        (["network=n1"], "started connected made"),
        (["label=tier=front"], "started well connected made"),
        (["label=tier=front", "label=a"], "started well connected"),
        (["exit!=0"], "ill"),
        (["exit=0", "exit=3"], "well ill"),
        (["exit=0", "container=web"], "well"),
        (["type!=container.*", "type!=hook.*"], "connected made mended"),
        (["image=busybox", "type=container.started"], "started"),
        (["hook=notify"], "hook"),
        (["subject=network/*"], "made"),
    ],
)
def test_what_passes(told: dict[str, Stored], expressions: list[str], passing: str) -> None:
    wanted = parse(expressions)
    found = [name for name, row in told.items() if (not wanted.types or row.type in wanted.types) and wanted.wants(row)]
    assert found == passing.split()


@pytest.mark.parametrize("wrong", ["", "web", "colour=red", "type=conteiner.*", "event=exploded", "exit=bad", "=x"])
def test_a_filter_that_cannot_mean_anything_is_refused(wrong: str) -> None:
    with pytest.raises(UserError):
        parse([wrong])


def test_the_composed_document_is_the_cloudevent(samples: Any) -> None:
    """Composed from text, equal to the one that is built as data; awkward names included."""
    container = replace(samples.container(1), name='quo"te\\ü')
    for fact in (
        facts.ContainerStarted(container=container),
        facts.HookFailed(handler='say "hi"\n', event="e-1", detail="ü\x00"),
    ):
        event = Event(epoch=EPOCH, seq=12, time=1_700_000_000_000_000_005, fact=fact, cause=f"{EPOCH}-3")
        row = Stored(event.seq, event.time, event.type, event.subject, event.cause, encode_fact(fact))
        composed = composer(Epochs(((1, EPOCH),)), 'no"de')(row)
        assert json.loads(composed) == json.loads(json.dumps(cloudevent(event, 'no"de')))
