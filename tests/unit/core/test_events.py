"""The journal's vocabulary: every fact survives its JSON, and the envelope is CloudEvents."""

from __future__ import annotations

import types
import typing
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.supervisor.core import events
from hawse.supervisor.core.events import FACT_TYPES, Event, cloudevent, decode_fact, encode_fact, rfc3339
from hawse.supervisor.core.model import ContainerConfig, Exit, ImageConfig, Record
from tests.unit.conftest import Samples

TEXT = st.text(max_size=8)
INT = st.integers(-(2**63), 2**63 - 1)


def values(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Anything that a field of that type may hold."""
    if isinstance(kind, typing.NewType):
        return values(kind.__supertype__)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values(a) for a in arguments))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if isinstance(kind, type) and issubclass(kind, Record):
        return records(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return {
        str: TEXT,
        int: INT,
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        type(None): st.none(),
        IPv4Address: st.integers(0, 2**32 - 1).map(IPv4Address),
        IPv4Network: st.integers(0, 2**24 - 1).map(lambda n: IPv4Network((n << 8, 24))),
    }[kind]


def records(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Records whose fields are any, or left out where they have a default."""
    hints = typing.get_type_hints(kind)
    required, optional = {}, {}
    for field in msgspec.structs.fields(kind):
        needed = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        (required if needed else optional)[field.name] = hints[field.name]
    fixed = st.fixed_dictionaries(
        {name: st.deferred(lambda t=t: values(t)) for name, t in required.items()},
        optional={name: st.deferred(lambda t=t: values(t)) for name, t in optional.items()},
    )
    return fixed.map(lambda fields: kind(**fields))


@pytest.mark.parametrize("kind", FACT_TYPES.values(), ids=FACT_TYPES)
def test_every_fact_survives_its_json(kind):
    @settings(max_examples=8, deadline=None)
    @given(records(kind))
    def survives(fact):
        kept = nameless(fact)
        assert decode_fact(fact.TYPE, encode_fact(fact)) == kept
        assert decode_fact(fact.TYPE, encode_fact(fact).decode()) == kept

    survives()


def nameless(fact):
    """Without the values of variables: a field `env`, wherever it stands."""
    if isinstance(fact, Record):
        kept = {name: nameless(getattr(fact, name)) for name in fact.__struct_fields__}
        if isinstance(fact, ContainerConfig | ImageConfig):
            kept["env"] = tuple(item.partition("=")[0] for item in fact.env)
        return type(fact)(**kept)
    return fact


def test_types_are_unique_and_the_table_is_the_union():
    assert set(FACT_TYPES.values()) == set(typing.get_args(events.Fact))
    assert len(FACT_TYPES) == len(typing.get_args(events.Fact))


def test_every_class_with_a_type_is_in_the_union():
    """Else the journal could write it and never read it again."""
    named = {thing for thing in vars(events).values() if isinstance(thing, type) and "TYPE" in vars(thing)}
    assert named == {*typing.get_args(events.Fact), *typing.get_args(events.Question)}


def test_questions_are_not_facts():
    for question in typing.get_args(events.Question):
        assert question.TYPE not in FACT_TYPES
        assert question.TYPE.startswith("pre-")


def test_unknown_types_and_bad_bodies_are_refused():
    with pytest.raises(KeyError):
        decode_fact("container.sang", b"{}")
    with pytest.raises(msgspec.ValidationError):
        decode_fact("daemon.started", b'{"version": 1, "pid": "x"}')


def test_subjects_order_a_containers_events_together(samples):
    container, network = samples.container(), samples.network()
    endpoint = samples.endpoint(container, network)
    subject = f"container/{container.id}"
    assert events.ContainerCreated(container=container).subject == subject
    assert events.NetworkConnected(container=container, endpoint=endpoint).subject == subject
    assert events.NetworkRepaired(object="o", missing="m", took_us=1, container_id=container.id).subject == subject
    assert events.NetworkRepaired(object="o", missing="m", took_us=1, network="n1").subject == "network/n1"
    assert events.NetworkCreated(network=network).subject == "network/n1"
    assert events.HookDead(handler="h", event="e").subject == "hook/h"
    assert events.DaemonStarted(version="1", pid=1).subject == "daemon"


def test_the_envelope_is_a_cloudevent(samples):
    container, network = samples.container(), samples.network()
    fact = events.NetworkConnected(container=container, endpoint=samples.endpoint(container, network))
    event = Event(epoch="e" * 32, seq=7, time=1_700_000_000_123_456_789, fact=fact, cause=f"{'e' * 32}-6")
    envelope = cloudevent(event, "host1")
    data = envelope.pop("data")
    assert envelope == {
        "specversion": "1.0",
        "id": f"{'e' * 32}-7",
        "source": "/node/host1",
        "type": "network.connected",
        "subject": f"container/{container.id}",
        "time": "2023-11-14T22:13:20.123456789Z",
        "datacontenttype": "application/json",
        "seq": 7,
        "epoch": "e" * 32,
        "cause": f"{'e' * 32}-6",
    }
    assert data["endpoint"]["address"] == "10.0.1.2"
    msgspec.json.encode(data)  # without a hook: no type of ours is left


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (999_999_999, "1970-01-01T00:00:00.999999999Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20.000000000Z"),
    ],
)
def test_times_as_docker_writes_them(ns, text):
    assert rfc3339(ns) == text


@pytest.mark.parametrize("cls", FACT_TYPES.values(), ids=FACT_TYPES)
def test_no_event_has_the_value_of_a_variable(cls: type[events.Fact], samples: Samples) -> None:
    secret = "hunter2=x"
    container = samples.container(config=ContainerConfig(image="i", env=(f"TOKEN={secret}", "EMPTY=")))
    image = samples.image(config=ImageConfig(env=(f"TOKEN={secret}",)))
    network = samples.network()
    given: dict[str, typing.Any] = {"container": container, "image": image, "network": network, "exit": Exit(code=0)}
    given["endpoint"] = samples.endpoint(container, network)
    required = {field.name: given.get(field.name, ()) for field in msgspec.structs.fields(cls) if field.required}
    if not {"container", "image"} & required.keys():
        return
    fact = cls(**required)
    event = Event(epoch="e", seq=1, time=1, fact=fact)
    told = encode_fact(fact) + msgspec.json.encode(cloudevent(event, "node"))
    assert secret.encode() not in told
    assert told.count(b'"TOKEN"') == 2
