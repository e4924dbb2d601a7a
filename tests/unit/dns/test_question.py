"""The name server's answers, from bytes to bytes."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Network,
    NetworkName,
    State,
)
from hawse.supervisor.dns.directory import Directory
from hawse.supervisor.dns.question import LARGEST_DATAGRAM, Forward, respond

BLUE, RED = NetworkName("blue"), NetworkName("red")


def network(name: NetworkName, third: int, *, internal: bool = False) -> Network:
    subnet = IPv4Network(f"10.0.{third}.0/24")
    return Network(id="", name=name, driver="bridge", created_at=0, subnet=subnet, gateway=subnet[1], internal=internal)


def plug(
    directory: Directory, name: str, on: NetworkName, address: str, *aliases: str, links: tuple[str, ...] = ()
) -> Container:
    container = Container(
        id=ContainerId(name.encode().hex().ljust(64, "0")),
        name=name,
        config=ContainerConfig(dns=("192.0.2.53",), endpoints=(EndpointRequest(network=on, links=links),)),
        state=State.RUNNING,
        created_at=0,
    )
    endpoint = Endpoint(
        container_id=container.id,
        network=on,
        address=IPv4Address(address),
        prefix=24,
        mac="",
        gateway=None,
        veth="",
        ifname="eth0",
        aliases=aliases,
    )
    directory.connect(container, endpoint)
    return container


def directory(*, internal: bool = False) -> Directory:
    made = Directory()
    made.networks = {BLUE: network(BLUE, 1, internal=internal), RED: network(RED, 2)}
    plug(made, "web", BLUE, "10.0.1.2")
    return made


def ask(
    there: Directory, name: str, kind: str = "A", *, source: str = "10.0.1.2", turn: int = 0
) -> dns.message.Message | Forward:
    query = dns.message.make_query(name, kind)
    answer = respond(there, BLUE, IPv4Address(source), query.to_wire(), turn=turn)
    if isinstance(answer, Forward):
        return answer
    assert answer is not None
    reply = dns.message.from_wire(answer)
    assert reply.id == query.id and query.is_response(reply)
    return reply


def addresses(reply: dns.message.Message | Forward) -> list[str]:
    assert isinstance(reply, dns.message.Message)
    return [item.to_text() for rrset in reply.answer for item in rrset]


def code(reply: dns.message.Message | Forward) -> dns.rcode.Rcode:
    assert isinstance(reply, dns.message.Message)
    return reply.rcode()


def test_all_who_have_a_name_in_turn() -> None:
    there = directory()
    for i in (3, 4, 5):
        plug(there, f"c{i}", BLUE, f"10.0.1.{i}", "many")
    orders = [addresses(ask(there, "many", turn=turn)) for turn in range(3)]
    assert all(sorted(order) == ["10.0.1.3", "10.0.1.4", "10.0.1.5"] for order in orders)
    assert {order[0] for order in orders} == {"10.0.1.3", "10.0.1.4", "10.0.1.5"}


def test_a_known_name_without_that_kind_of_record_is_empty_not_unknown() -> None:
    reply = ask(directory(), "web", "AAAA")
    assert code(reply) == dns.rcode.NOERROR and not addresses(reply)


def test_too_many_for_a_datagram_are_asked_for_by_tcp() -> None:
    there = directory()
    for i in range(3, 103):
        plug(there, f"c{i}", BLUE, f"10.0.1.{i}", "many")
    reply = ask(there, "many")
    assert isinstance(reply, dns.message.Message) and reply.flags & dns.flags.TC
    query = dns.message.make_query("many", "A").to_wire()
    whole = respond(there, BLUE, IPv4Address("10.0.1.2"), query, datagram=False)
    assert isinstance(whole, bytes) and len(addresses(dns.message.from_wire(whole))) == 100


def test_strangers_are_refused() -> None:
    for source in ("10.0.2.2", "10.0.1.77", "198.51.100.1"):
        assert code(ask(directory(), "web", source=source)) == dns.rcode.REFUSED


def test_addresses_of_other_networks_have_no_name_and_are_asked_of_nobody() -> None:
    there = directory()
    plug(there, "secret", RED, "10.0.2.2")
    assert addresses(ask(there, "2.1.0.10.in-addr.arpa", "PTR")) == ["web.blue."]
    assert code(ask(there, "2.2.0.10.in-addr.arpa", "PTR")) == dns.rcode.NXDOMAIN
    assert isinstance(ask(there, "1.0.0.127.in-addr.arpa", "PTR"), Forward)


def test_other_names_are_passed_on_to_the_askers_own_servers() -> None:
    passed = ask(directory(), "example.org")
    assert isinstance(passed, Forward) and passed.servers == ("192.0.2.53",)
    assert dns.message.from_wire(passed.failed).rcode() == dns.rcode.SERVFAIL


def test_nothing_leaves_an_internal_network() -> None:
    assert code(ask(directory(internal=True), "example.org")) == dns.rcode.REFUSED


def header(questions: int, records: int) -> bytes:
    return struct.pack("!6H", 7, 0x0100, questions, 0, 0, records)


ONE = b"\3web\0\0\1\0\1"
LONG = b"\1a" * 126 + b"\0\0\1\0\1"


@pytest.mark.parametrize(
    "wire",
    [
        header(0, 0),
        header(2, 0) + ONE * 2,
        header(2000, 0) + ONE * 2000,
        header(200, 0) + LONG + b"\xc0\x0c\0\1\0\1" * 199,
        header(1, 100) + ONE + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\0" * 100,
        header(1, 1) + ONE + b"\0\0\x29\x04\xd0\0\0\0\0" + struct.pack("!H", 8000) + b"\0\x0a\0\0" * 2000,
    ],
    ids=["none", "two", "thousands", "long", "records", "options"],
)
@pytest.mark.parametrize("datagram", [True, False])
def test_only_one_question_is_answered_and_nothing_long_is_read(wire: bytes, datagram: bool) -> None:
    """An answer that repeated all the questions was too big to send, which ended the daemon."""
    answer = respond(directory(), BLUE, IPv4Address("10.0.1.2"), wire, datagram=datagram)
    assert isinstance(answer, bytes) and len(answer) == 12
    assert dns.message.from_wire(answer).rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize("name", ["a" * 64, "a..b", "a.", ".".join(["a" * 60] * 5)])
def test_an_address_whose_container_has_a_name_that_dns_cannot_tell(name: str) -> None:
    """It ended the daemon, too."""
    there = directory()
    plug(there, name, BLUE, "10.0.1.3")
    assert code(ask(there, "3.1.0.10.in-addr.arpa", "PTR")) == dns.rcode.NXDOMAIN
    assert addresses(ask(there, "2.1.0.10.in-addr.arpa", "PTR")) == ["web.blue."]


labels = st.one_of(st.just(b"\0"), st.just(b"\xc0\x0c"), st.just(b"\3web\0"), st.binary(min_size=1, max_size=70))


@given(
    flags=st.integers(0, 0x7FFF),
    question=st.tuples(labels, st.integers(0, 260), st.sampled_from([1, 3, 254, 255])),
    records=st.lists(
        st.tuples(labels, st.sampled_from([1, 2, 5, 6, 12, 16, 41, 249, 250, 255]), st.binary(max_size=40)), max_size=4
    ),
    datagram=st.booleans(),
)
def test_what_looks_like_a_question_breaks_nothing(
    flags: int, question: tuple[bytes, int, int], records: list[tuple[bytes, int, bytes]], datagram: bool
) -> None:
    wire = struct.pack("!6H", 7, flags, 1, 0, 0, len(records)) + question[0] + struct.pack("!2H", *question[1:])
    for name, kind, data in records:
        wire += name + struct.pack("!2HIH", kind, 1232, 0, len(data)) + data
    answer = respond(directory(), BLUE, IPv4Address("10.0.1.2"), wire, datagram=datagram)
    assert answer is not None
    assert len(answer.failed if isinstance(answer, Forward) else answer) <= LARGEST_DATAGRAM


@given(wire=st.binary(max_size=80))
def test_rubbish_breaks_nothing(wire: bytes) -> None:
    answer = respond(directory(), BLUE, IPv4Address("10.0.1.2"), wire)
    assert answer is None or isinstance(answer, Forward) or answer[:2] == wire[:2]


names = st.sampled_from(["a", "b", "c", "d"])


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("plug"), names, st.sampled_from([BLUE, RED])),
            st.tuples(st.just("unplug"), names, st.sampled_from([BLUE, RED])),
            st.tuples(st.just("rename"), names, names),
        )
    )
)
def test_nothing_is_left_when_all_is_unplugged(steps: list[tuple[str, str, str]]) -> None:
    there = directory()
    plug(there, "web", RED, "10.0.2.2")
    made: dict[str, Container] = {}
    for what, name, other in steps:
        if what == "plug":
            third = 1 if other == BLUE else 2
            made[name] = plug(there, name, NetworkName(other), f"10.0.{third}.{10 + ord(name) - ord('a')}", "shared")
        elif name in made and what == "unplug":
            there.disconnect(made[name].id, NetworkName(other))
        elif name in made:
            there.rename(replace(made[name], name=f"new-{other}"))
    for container in made.values():
        for on in (BLUE, RED):
            there.disconnect(container.id, on)
    asker = there.asker(BLUE, IPv4Address("10.0.1.2"))
    assert asker is not None
    for name in ("a", "b", "c", "d", "shared", "new-a", "new-b", "new-c", "new-d"):
        assert there.find(asker, name) == []
    assert there.find(asker, "web") == [IPv4Address("10.0.1.2"), IPv4Address("10.0.2.2")]


def test_a_link_is_a_name_for_one_asker_alone() -> None:
    there = directory()
    plug(there, "app", BLUE, "10.0.1.3", links=("web:Db", "nobody:gone"))
    assert addresses(ask(there, "db", source="10.0.1.3")) == ["10.0.1.2"]
    assert addresses(ask(there, "db.blue", source="10.0.1.3")) == ["10.0.1.2"]
    assert addresses(ask(there, "web", source="10.0.1.3")) == ["10.0.1.2"]
    for name, asker in (("db", "10.0.1.2"), ("gone", "10.0.1.3")):
        assert isinstance(ask(there, name, source=asker), Forward) or not addresses(ask(there, name, source=asker))
    there.disconnect(plug(there, "app", BLUE, "10.0.1.3").id, BLUE)
    assert there.asker(BLUE, IPv4Address("10.0.1.3")) is None
