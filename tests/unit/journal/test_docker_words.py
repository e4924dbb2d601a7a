"""Docker's words for events, both ways: what `GET /events` calls a fact is what `event=` finds it by."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import FACT_TYPES, Event, Fact, encode_fact
from hawse.supervisor.core.model import Exit, MountSpec, Verb, Volume, Wish
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.docker.event_words import ALL_WORDS, WORDS
from hawse.supervisor.docker.view_event import docker_events
from hawse.supervisor.journal.eventfilter import parse

DOCKER = """
    create start restart stop die kill oom pause unpause rename update destroy health_status commit exec_create exec_start
    exec_die connect disconnect mount unmount import pull tag untag delete
""".split()
"""The actions of docker's events (`docker events --help` of 27.5) that hawse can tell."""


@pytest.fixture
def told(samples: Any) -> list[Fact]:
    """Each fact that docker has words for, those with a condition both ways."""
    bare, image, network = samples.container(1), samples.image(1), samples.network(1)
    mounts = (MountSpec(type="volume", source="data", target="/data"),)
    full = replace(bare, config=replace(bare.config, mounts=mounts))
    endpoint, volume = samples.endpoint(bare, network), Volume(name="data", created_at=1)
    plain = (
        *(facts.ContainerCreated, facts.ContainerOom, facts.ContainerPaused, facts.ContainerResumed),
        *(facts.ContainerUpdated, facts.ContainerRemoved, facts.ContainerStarted),
    )
    return [
        *(kind(container=container) for kind in plain for container in (bare, full)),
        facts.ContainerStarted(container=full, restarted=True),
        facts.ContainerExited(container=bare, exit=Exit(code=0)),
        *(
            facts.ContainerExited(container=replace(full, wish=wish), exit=Exit(code=0))
            for wish in (None, *(Wish(verb=verb) for verb in (Verb.STOP, Verb.RESTART, Verb.KILL, Verb.REMOVE)))
        ),
        facts.ContainerKilled(container=bare, signal=15),
        facts.ContainerHealthChanged(container=bare, status="healthy"),
        facts.ContainerRenamed(container=bare, old_name="old"),
        facts.ContainerCommitted(container=bare, image_id=image.id),
        facts.ExecStarted(container=bare, exec_id="x", argv=("ls",)),
        facts.ExecEnded(container=bare, exec_id="x", code=0),
        *(kind(network=network) for kind in (facts.NetworkCreated, facts.NetworkRemoved)),
        *(kind(container=bare, endpoint=endpoint) for kind in (facts.NetworkConnected, facts.NetworkDisconnected)),
        *(facts.ImageCreated(image=replace(image, parent=parent)) for parent in ("", image.id)),
        facts.ImagePulled(image=image, name="a:b"),
        *(kind(image=image, tag="a:b") for kind in (facts.ImageTagged, facts.ImageUntagged)),
        facts.ImageRemoved(image=image),
        *(kind(volume=volume) for kind in (facts.VolumeCreated, facts.VolumeRemoved)),
        facts.HookFailed(handler="notify", event="e-1"),
        facts.DaemonStarted(version="1", pid=1),
    ]


def shown(fact: Fact) -> set[str]:
    views = docker_events(Event(epoch="e", seq=1, time=1, fact=fact), {})
    return {view["Action"].partition(":")[0] for view in views}


def passes(expression: str, fact: Fact) -> bool:
    wanted, row = parse([expression]), Stored(1, 1, fact.TYPE, fact.subject, "", encode_fact(fact))
    return (not wanted.types or row.type in wanted.types) and wanted.wants(row)


def test_the_table_has_every_word() -> None:
    assert sorted(ALL_WORDS) == sorted(DOCKER)


def test_the_facts_here_are_all_that_have_words(told: list[Fact]) -> None:
    assert {kind for kind, words in WORDS.items() if words} <= {type(fact) for fact in told}


def test_it_is_said_of_every_fact_what_docker_calls_it() -> None:
    missing = [kind.__name__ for kind in FACT_TYPES.values() if kind not in WORDS]
    assert not missing, (
        f"supervisor/docker/event_words.py lacks {missing}: docker's words for it, or that there are none"
    )


@pytest.mark.parametrize("word", DOCKER)
def test_a_word_finds_what_is_shown_by_it_and_nothing_else(told: list[Fact], word: str) -> None:
    with_it = [fact for fact in told if word in shown(fact)]
    assert with_it
    assert [fact for fact in told if passes(f"event={word}", fact)] == with_it
    assert [fact for fact in told if not passes(f"event!={word}", fact)] == with_it


def test_a_word_with_a_condition_goes_with_one_without(told: list[Fact]) -> None:
    wanted = parse(["event=stop", "event=oom"])
    rows = [Stored(1, 1, fact.TYPE, fact.subject, "", encode_fact(fact)) for fact in told]
    found = [fact for fact, row in zip(told, rows, strict=True) if row.type in wanted.types and wanted.wants(row)]
    assert found == [fact for fact in told if "stop" in shown(fact) or isinstance(fact, facts.ContainerOom)]
