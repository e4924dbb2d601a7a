"""Rows of containers, networks, leases, endpoints, ports, images and volumes: what is unique, found and freed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from ipaddress import IPv4Address
from pkgutil import iter_modules

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hawse.supervisor import store
from hawse.supervisor.core.errors import Conflict, Forbidden, NotFound, UserError
from hawse.supervisor.core.model import Lease, PortBinding, State, Volume
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.schema import migrate
from hawse.supervisor.store.session import Session
from hawse.supervisor.store.tx import Tx


def fresh_tx(clock) -> Tx:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection)
    return Tx(connection, clock, Epochs(((1, "e" * 32),)))


@pytest.fixture
def tx(clock) -> Iterator[Tx]:
    made = fresh_tx(clock)
    yield made
    made._connection.close()


def test_every_group_of_rows_is_joined():
    for found in iter_modules(store.__path__):
        import_module(f"hawse.supervisor.store.{found.name}")
    forgotten = {rows.__name__ for rows in Session.__subclasses__() if not issubclass(Tx, rows)}
    assert not forgotten, "supervisor/store/tx.py: class Tx"


# containers


def test_put_inserts_and_replaces(tx, samples):
    tx.put(samples.container(1))
    tx.put(samples.container(1, state=State.RUNNING, name="other"))
    assert tx.containers() == [samples.container(1, state=State.RUNNING, name="other")]
    assert tx.container_named("c1") is None
    assert tx.container_named("other") == tx.container(samples.container(1).id)
    assert tx.container("f" * 64) is None


def test_a_name_belongs_to_one_container(tx, samples):
    tx.put(samples.container(1, name="web"))
    with pytest.raises(Conflict) as caught:
        tx.put(samples.container(2, name="web"))
    assert caught.value.message == (
        f'Conflict. The container name "/web" is already in use by container "{samples.container(1).id}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def test_containers_are_listed_oldest_first(tx, samples):
    for n in (3, 1, 2):
        tx.put(samples.container(n))
    assert [c.name for c in tx.containers()] == ["c1", "c2", "c3"]


def test_find_by_id_name_and_unique_prefix(tx, samples):
    one, two = samples.container(0xABC1), samples.container(0xABD2)
    tx.put(one)
    tx.put(two)
    for ref in (one.id, one.name, f"/{one.name}", "abc", "abc1aaa"):
        assert tx.find(ref) == one


def test_a_name_wins_over_a_prefix(tx, samples):
    tx.put(samples.container(0xABC1))
    named = samples.container(0xDEF2, name="abc")
    tx.put(named)
    assert tx.find("abc") == named


def test_an_ambiguous_prefix_is_refused_in_dockers_words(tx, samples):
    tx.put(samples.container(0xABC1))
    tx.put(samples.container(0xABC2))
    with pytest.raises(UserError) as caught:
        tx.find("abc")
    assert caught.value.message == "multiple IDs found with provided prefix: abc"


@pytest.mark.parametrize("ref", ["", "abd", "g", "%", "_", "ABC", "abc1" + "a" * 61])
def test_what_nobody_has_is_not_found(tx, samples, ref):
    tx.put(samples.container(0xABC1))
    with pytest.raises(NotFound) as caught:
        tx.find(ref)
    assert caught.value.message == f"No such container: {ref}"


def test_a_near_name_is_suggested(tx, samples):
    tx.put(samples.container(1, name="webserver"))
    with pytest.raises(NotFound) as caught:
        tx.find("websrver")
    assert caught.value.hint == "did you mean webserver?"


def test_a_removed_container_becomes_a_tombstone_and_frees_everything(tx, samples, clock):
    container, network = samples.container(1), samples.network(1)
    tx.put(container)
    tx.put_network(network)
    tx.claim_id_range(container.id)
    tx.lease(Lease(network=network.name, address=IPv4Address("10.0.1.2"), container_id=container.id))
    tx.reserve_ports(container.id, [PortBinding(container_port=80, host_port=8080)])
    tx.delete_container(container.id)
    tx.delete_container(container.id)  # gone is success
    assert (tx.containers(), tx.leases(), tx.port_holders("tcp", 8080)) == ([], [], [])
    assert tx.claim_id_range("another") == 0
    for ref in (container.id, "c1", "/c1", container.id[:5]):
        assert tx.tombstone(ref) == container
    with pytest.raises(NotFound):
        tx.find("c1")
    with pytest.raises(NotFound):
        tx.tombstone("c2")


def test_a_name_may_die_many_times_and_the_latest_is_found(tx, samples, clock):
    for n in (1, 2):
        tx.put(samples.container(n, name="web"))
        tx.delete_container(samples.container(n).id)
        clock.advance(10)
    assert tx.tombstone("web").id == samples.container(2).id
    assert [c.id for c in tx.tombstones()] == [samples.container(2).id, samples.container(1).id]
    assert tx.prune_tombstones(clock.now - 15 * 10**9) == 1
    assert [c.id for c in tx.tombstones()] == [samples.container(2).id]


def test_a_record_is_deleted_last(tx, samples):
    """Regression of the article's program: the record went before the disconnect, and a failure orphaned the rules."""
    container, network = samples.container(1), samples.network(1)
    tx.put(container)
    tx.put_network(network)
    tx.put_endpoint(samples.endpoint(container, network))
    with pytest.raises(sqlite3.IntegrityError):
        tx.delete_container(container.id)


@given(st.lists(st.integers(0, 12), max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_id_ranges_are_the_lowest_free_and_never_shared(clock, toggles):
    tx, held = fresh_tx(clock), {}
    for n in toggles:
        if n in held:
            tx.release_id_range(str(n))
            del held[n]
        else:
            expected = next(slot for slot in range(20) if slot not in held.values())
            held[n] = tx.claim_id_range(str(n))
            assert held[n] == expected
            assert tx.claim_id_range(str(n)) == expected  # asked again: the same
    tx._connection.close()


# networks


def test_networks_by_name_id_and_prefix(tx, samples):
    one, two = samples.network(0xABC1, name="front"), samples.network(0xABC2, name="back")
    tx.put_network(one)
    tx.put_network(two)
    assert tx.networks() == [two, one]
    for ref in (one.id, "front", "abc1"):
        assert tx.find_network(ref) == one
    with pytest.raises(UserError, match=r"network abc is ambiguous \(2 matches found based on ID prefix\)"):
        tx.find_network("abc")
    with pytest.raises(NotFound) as caught:
        tx.find_network("fronts")
    assert (caught.value.message, caught.value.hint) == ("network fronts not found", "did you mean front?")
    with pytest.raises(NotFound):
        tx.find_network("")
    assert tx.network("nothing") is None


def test_names_and_devices_of_networks_are_unique(tx, samples):
    tx.put_network(samples.network(1))
    with pytest.raises(Conflict, match="network with name n1 already exists"):
        tx.put_network(samples.network(2, name="n1"))
    with pytest.raises(Conflict, match="device br1 already belongs"):
        tx.put_network(samples.network(2, device="br1"))
    tx.put_network(samples.network(3, device=""))
    tx.put_network(samples.network(4, device=""))  # no device is no conflict
    tx.put_network(samples.network(1, internal=True))
    assert tx.network("n1") == samples.network(1, internal=True)


def test_the_device_of_a_network_is_called_bridge_in_rows_as_ever(tx, samples):
    """Rows and copies that older daemons have written are read, theirs read ours, and events keep the field's name."""
    network = samples.network(1)
    tx.put_network(network)
    (row,) = tx._one("SELECT json FROM networks")
    assert json.loads(row)["bridge"] == network.device == "br1" and "device" not in json.loads(row)
    tx._do("UPDATE networks SET json = ?", row.replace('"br1"', '"older"'))
    assert tx.network("n1").device == "older"


def test_a_network_with_endpoints_stays_and_its_idle_leases_go_with_it(tx, samples):
    container, network = samples.container(1), samples.network(1)
    tx.put(container)
    tx.put_network(network)
    tx.lease(Lease(network=network.name, address=IPv4Address("10.0.1.2"), container_id=container.id))
    tx.put_endpoint(samples.endpoint(container, network))
    with pytest.raises(Forbidden, match="network n1 has active endpoints"):
        tx.delete_network("n1")
    tx.delete_endpoint(container.id, "n1")
    tx.delete_network("n1")
    tx.delete_network("n1")
    assert (tx.networks(), tx.leases()) == ([], [])


# leases


def lease(samples, n, host, network="n1"):
    return Lease(network=network, address=IPv4Address(f"10.0.1.{host}"), container_id=samples.container(n).id)


@pytest.fixture
def populated(tx, samples):
    for n in (1, 2):
        tx.put(samples.container(n))
        tx.put_network(samples.network(n))
    return tx


def test_an_address_belongs_to_one_container_of_a_network(populated, samples):
    populated.lease(lease(samples, 1, 2))
    populated.lease(lease(samples, 1, 2))  # the same again
    with pytest.raises(Conflict) as caught:
        populated.lease(lease(samples, 2, 2))
    assert caught.value.message == "Address already in use: 10.0.1.2 on network n1"
    assert caught.value.hint == f"by container c1 ({samples.container(1).id[:12]})"
    populated.lease(lease(samples, 2, 2, network="n2"))  # another network's 10.0.1.2
    assert len(populated.leases()) == 2


def test_a_container_has_one_lease_in_a_network_and_the_last_is_remembered(populated, samples):
    assert populated.last_lease("n1") is None
    populated.lease(lease(samples, 1, 2))
    populated.lease(lease(samples, 1, 9))
    assert [str(x.address) for x in populated.leases("n1")] == ["10.0.1.9"]
    populated.release_leases(samples.container(1).id)
    assert populated.leases("n1") == []
    assert populated.last_lease("n1") == IPv4Address("10.0.1.9")
    assert populated.last_lease("none") is None


def test_leases_of_a_network_and_of_a_container(populated, samples):
    all_of_them = [lease(samples, 1, 2), lease(samples, 1, 3, "n2"), lease(samples, 2, 4)]
    for one in all_of_them:
        populated.lease(one)
    assert populated.leases("n1") == [all_of_them[0], all_of_them[2]]
    assert populated.leases(container_id=samples.container(1).id) == all_of_them[:2]
    assert populated.leases("n2", container_id=samples.container(2).id) == []
    populated.release_leases(samples.container(1).id, "n1")
    assert populated.leases(container_id=samples.container(1).id) == [all_of_them[1]]


# endpoints


def test_endpoints_of_a_container_and_of_a_network_in_order_of_connection(populated, samples):
    first = samples.endpoint(samples.container(1), samples.network(2))
    second = samples.endpoint(samples.container(1), samples.network(1))
    third = samples.endpoint(samples.container(2), samples.network(1))
    for endpoint in (first, second, third):
        populated.put_endpoint(endpoint)
    changed = replace(first, connected_at=5)
    populated.put_endpoint(changed)
    assert populated.endpoints() == [changed, second, third]
    assert populated.endpoints(samples.container(1).id) == [changed, second]
    assert populated.endpoints(network="n1") == [second, third]
    populated.delete_endpoint(samples.container(1).id, "n1")
    populated.delete_endpoint(samples.container(1).id, "n1")
    assert populated.endpoints() == [changed, third]


def test_a_device_belongs_to_one_endpoint(populated, samples):
    """Regression of the article's program: two containers whose ids begin alike got one device name."""
    populated.put_endpoint(samples.endpoint(samples.container(1), samples.network(1), veth="h1"))
    with pytest.raises(Conflict, match="device h1 already belongs to container"):
        populated.put_endpoint(samples.endpoint(samples.container(2), samples.network(1), veth="h1"))


# ports

ADDRESSES = st.sampled_from([None, IPv4Address("127.0.0.1"), IPv4Address("10.0.0.9")])
BINDINGS = st.builds(
    PortBinding,
    container_port=st.just(80),
    proto=st.sampled_from(["tcp", "udp"]),
    host_ip=ADDRESSES,
    host_port=st.integers(8080, 8082),
)


def clash(a: PortBinding, b: PortBinding) -> bool:
    same_port = (a.proto, a.host_port) == (b.proto, b.host_port)
    return same_port and (a.host_ip == b.host_ip or a.host_ip is None or b.host_ip is None)


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(BINDINGS, max_size=2), st.booleans()), max_size=25))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ports_against_a_model(clock, samples, steps):
    """Two reservations never clash, every address excludes each one, and what fails holds nothing."""
    tx, held = fresh_tx(clock), {n: [] for n in (1, 2, 3)}
    every_port = [(proto, port) for proto in ("tcp", "udp") for port in range(8080, 8083)]
    for n in held:
        tx.put(samples.container(n))
    for n, wanted, release in steps:
        if release:
            tx.release_ports(samples.container(n).id)
            held[n] = []
            continue
        taken = [b for bindings in held.values() for b in bindings]
        clashing = any(clash(b, t) for i, b in enumerate(wanted) for t in taken + wanted[:i])
        tx._connection.execute("SAVEPOINT s")  # as the store does around each function
        try:
            tx.reserve_ports(samples.container(n).id, wanted)
        except Conflict as e:
            assert clashing
            assert "port is already allocated" in e.message
            tx._connection.execute("ROLLBACK TO s")
        else:
            assert not clashing
            held[n] += wanted
        tx._connection.execute("RELEASE s")
        found = sorted((p.container_name, repr(p.binding)) for key in every_port for p in tx.port_holders(*key))
        assert found == sorted((f"c{n}", repr(b)) for n, bindings in held.items() for b in bindings)
        assert sorted(map(repr, tx.reserved_ports(samples.container(n).id))) == sorted(map(repr, held[n]))
    tx._connection.close()


def test_a_port_conflict_names_address_port_and_holder(populated, samples):
    populated.reserve_ports(samples.container(1).id, [PortBinding(container_port=80, host_port=8080)])
    with pytest.raises(Conflict) as caught:
        populated.reserve_ports(
            samples.container(2).id,
            [PortBinding(container_port=80, host_port=8080, host_ip=IPv4Address("127.0.0.1"))],
        )
    assert caught.value.message == "Bind for 127.0.0.1:8080 failed: port is already allocated"
    assert caught.value.hint.startswith("by container c1 (")


# images


def test_a_tag_moves_to_the_image_that_got_it_last(tx, samples):
    tx.put_image(samples.image(1, tags=("web:latest", "web:1")))
    tx.put_image(samples.image(2, tags=("web:latest",)))
    assert tx.image_by_tag("web:latest") == samples.image(2, tags=("web:latest",))
    assert tx.image(samples.image(1).id) == samples.image(1, tags=("web:1",))
    assert tx.image_tags() == ["web:1", "web:latest"]
    tx.put_image(samples.image(2, tags=()))
    assert tx.image_by_tag("web:latest") is None


def test_images_by_prefix(tx, samples):
    tx.put_image(samples.image(0xABC1))
    tx.put_image(samples.image(0xABD2, tags=()))
    assert tx.image_by_prefix("abc") == tx.image_by_prefix("sha256:abc1") == samples.image(0xABC1)
    assert tx.image_by_prefix("f") is None
    assert tx.image_by_prefix("") is None
    with pytest.raises(UserError, match="multiple IDs found with provided prefix: ab"):
        tx.image_by_prefix("ab")


def test_layers_are_used_as_long_as_an_image_stands_on_them(tx, samples):
    tx.put_image(samples.image(1, layers=("base", "one")))
    tx.put_image(samples.image(2, layers=("base", "two", "two")))
    assert tx.layers_in_use() == {"base", "one", "two"}
    assert (tx.layer_users("base"), tx.layer_users("one"), tx.layer_users("none")) == (2, 1, 0)
    tx.delete_image(samples.image(1).id)
    tx.delete_image(samples.image(1).id)
    assert tx.layers_in_use() == {"base", "two"}
    assert tx.images() == [samples.image(2, layers=("base", "two", "two"))]


def test_volumes(tx):
    volume = Volume(name="data", created_at=5, labels={"a": "b"})
    tx.put_volume(Volume(name="data", created_at=5))
    tx.put_volume(volume)
    assert tx.volumes() == [volume]
    assert tx.find_volume("data") == tx.volume("data") == volume
    tx.delete_volume("data")
    tx.delete_volume("data")
    assert tx.volume("data") is None
    with pytest.raises(NotFound, match="get data: no such volume"):
        tx.find_volume("data")


def test_values_of_the_installation(tx):
    assert tx.meta("k") == ""
    tx.put_meta("k", "1")
    tx.put_meta("k", "2")
    assert tx.meta("k") == "2"


def test_leases_are_asked_one_address_at_a_time(populated, samples):
    tx, network = populated, samples.network(1)
    for n in (1, 2):
        tx.lease(lease(samples, n, n + 1))
    taken = tx.leased(network.name)
    held = tx.leases(network.name)
    assert held and len(taken) == len(held)
    assert set(taken) == {lease.address for lease in held}
    assert all(lease.address in taken for lease in held)
    assert taken.holder(held[0].address) == tx.container(held[0].container_id).name
    assert IPv4Address("10.0.1.200") not in taken and taken.holder(IPv4Address("10.0.1.200")) is None


# runs of hooks


def test_attempts_of_an_event_go_on_and_an_end_that_was_never_written_is_an_interruption(tx, clock):
    """The end could not be written (a full disk): the next attempt says so, and other runs stay as they are."""
    first = tx.begin_run("10-a", 7, "container.exited", "container/x")
    tx.begin_run("10-b", 7, "container.exited", "container/x")
    tx.begin_run("10-gate", 0, "pre-start", "container/x")
    clock.advance(5)
    second = tx.begin_run("10-a", 7, "container.exited", "container/x")
    tx.end_run(second.id, "succeeded", 0, "said")
    assert (first.attempt, second.attempt) == (1, 2)
    assert [(r.attempt, r.outcome, r.output) for r in tx.hook_runs("10-a")] == [
        (2, "succeeded", "said"),
        (1, "interrupted", ""),
    ]
    tx.begin_run("10-gate", 0, "pre-start", "container/y")  # gates ask of many containers at once
    assert [r.outcome for r in (*tx.hook_runs("10-b"), *tx.hook_runs("10-gate"))] == ["", "", ""]
    assert tx.interrupt_runs() == 3
    assert {r.outcome for r in tx.hook_runs()} == {"succeeded", "interrupted"}
