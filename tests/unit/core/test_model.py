"""Records: JSON and back, and the few things they say about themselves."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest
from msgspec.structs import replace

from hawse.supervisor.core.model import Container, ContainerConfig, Exit, Lease, Network, State, decoder, encode


def test_addresses_are_text_in_json(samples):
    network = samples.network(subnet=IPv4Network("10.10.10.0/24"), gateway=IPv4Address("10.10.10.1"))
    body = msgspec.json.decode(encode(network))
    assert (body["subnet"], body["gateway"]) == ("10.10.10.0/24", "10.10.10.1")
    assert decoder(Network).decode(encode(network)) == network


@pytest.mark.parametrize("address", ["10.0.0.256", "::1", "", 5, None])
def test_a_bad_address_is_a_validation_error(address):
    body = msgspec.json.encode({"network": "n", "address": address, "container_id": "c"})
    with pytest.raises(msgspec.ValidationError):
        decoder(Lease).decode(body)


def test_a_type_without_json_is_refused_instead_of_guessed(samples):
    class Odd(Lease, frozen=True, kw_only=True):
        thing: object = None

    odd = Odd(network="n", address=IPv4Address("10.0.0.1"), container_id="c", thing={1, 2}.__iter__())
    with pytest.raises(NotImplementedError, match="set_iterator"):
        encode(odd)


def test_rows_of_an_older_version_lack_fields(samples):
    """What makes adding a field with a default safe."""
    old = {"id": "i", "name": "n", "config": {}, "state": "running", "created_at": 5}
    assert decoder(Container).decode(msgspec.json.encode(old)) == Container(
        id="i", name="n", config=ContainerConfig(), state=State.RUNNING, created_at=5
    )


def test_rows_of_a_newer_version_have_more_fields(samples):
    container = samples.container()
    body = {**msgspec.json.decode(encode(container)), "fancy": [1]}
    assert decoder(Container).decode(msgspec.json.encode(body)) == container


def test_states_with_a_process():
    assert {s for s in State if s.is_running} == {State.RUNNING, State.PAUSED}
    assert {s for s in State if s.is_alive} == {State.STARTING, State.RUNNING, State.PAUSED}


def test_only_docker_words_are_public(samples):
    docker = {"created", "running", "paused", "restarting", "exited", "removing", "dead"}
    assert {replace(samples.container(), state=s).public for s in State} == docker


def test_a_start_that_is_under_way_looks_as_what_was_before(samples):
    fresh = replace(samples.container(), state=State.STARTING, started_at=0, restart_count=0)
    assert fresh.public is State.CREATED
    assert replace(fresh, started_at=1).public is State.EXITED
    assert replace(fresh, started_at=1, restart_count=1).public is State.RESTARTING


def test_argv_is_entrypoint_then_command():
    assert ContainerConfig(entrypoint=("sh", "-c"), cmd=("a b", "c")).argv == ("sh", "-c", "a b", "c")


@pytest.mark.parametrize(
    ("auto_remove", "state", "ended", "leaving"),
    [
        (True, State.EXITED, True, True),
        (True, State.REMOVING, True, True),
        (True, State.RUNNING, False, False),
        (True, State.CREATED, False, False),
        (False, State.EXITED, True, False),
    ],
)
def test_a_container_is_leaving_when_it_removes_itself_and_has_ended(samples, auto_remove, state, ended, leaving):
    container = samples.container(
        config=ContainerConfig(auto_remove=auto_remove), state=state, exit=Exit(code=0) if ended else None
    )
    assert container.is_leaving is leaving
