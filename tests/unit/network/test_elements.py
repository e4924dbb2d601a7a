"""Elements: what a record puts into the table, written for nft and read back from its JSON."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hawse.supervisor.core.model import DEFAULT_NETWORK, ContainerId, Endpoint, Network, NetworkName, PortBinding
from hawse.supervisor.network import elements, ruleset
from hawse.supervisor.network.elements import Element, Index

NET = Network(
    id="1" * 64,
    name=NetworkName("testbr"),
    driver="bridge",
    created_at=0,
    subnet=IPv4Network("10.10.10.0/24"),
    gateway=IPv4Address("10.10.10.1"),
    device="testbr",
)
BINDINGS = st.lists(
    st.builds(
        PortBinding,
        container_port=st.integers(8000, 8012),
        host_port=st.integers(8000, 8012),
        proto=st.sampled_from(["tcp", "udp"]),
        host_ip=st.sampled_from([None, IPv4Address("0.0.0.0"), IPv4Address("127.0.0.1"), IPv4Address("192.0.2.1")]),
    ),
    max_size=30,
    unique_by=lambda b: (b.proto, b.host_port, str(b.host_ip or "0.0.0.0")),
)


def endpoint(*ports: PortBinding) -> Endpoint:
    return Endpoint(
        container_id=ContainerId("c" * 64),
        network=NET.name,
        address=IPv4Address("10.10.10.2"),
        prefix=24,
        mac="",
        gateway=NET.gateway,
        veth="h-1",
        ifname="eth0",
        ports=ports,
    )


def test_a_network() -> None:
    found = {(e.place, e.text) for e in elements.of_network(NET, "hawse")}
    assert found == {
        ("bridges", '"testbr" comment "hawse::testbr"'),
        ("same", '"testbr" . "testbr" comment "hawse::testbr"'),
        ("sources", '10.10.10.0/24 comment "hawse::testbr"'),
        ("resolvers", '10.10.10.1 comment "hawse::testbr"'),
    }


def test_the_default_network_has_no_names() -> None:
    assert "resolvers" not in {e.place for e in elements.of_network(replace(NET, name=DEFAULT_NETWORK), "hawse")}


def test_an_internal_network_is_no_source() -> None:
    internal = Network(**{f: getattr(NET, f) for f in NET.__struct_fields__} | {"internal": True})
    assert {e.place for e in elements.of_network(internal, "hawse")} == {"bridges", "same", "internal", "resolvers"}


def test_ports() -> None:
    ports = [PortBinding(container_port=p, host_port=p) for p in (9000, 9001, 9002, 9005)]
    ports += [PortBinding(container_port=80, host_port=8080, host_ip=IPv4Address("127.0.0.1"))]
    ports += [PortBinding(container_port=p - 1, host_port=p, proto="udp") for p in (7001, 7002)]
    comment = f'comment "hawse:{"c" * 64}:testbr"'
    assert {(e.place, e.text) for e in elements.of_endpoint(endpoint(*ports), "hawse")} == {
        ("range_any", f"tcp . 9000-9002 {comment} : 10.10.10.2"),
        ("publish_any", f"tcp . 9005 {comment} : 10.10.10.2 . 9005"),
        ("publish_address", f"127.0.0.1 . tcp . 8080 {comment} : 10.10.10.2 . 80"),
        ("publish_any", f"udp . 7001 {comment} : 10.10.10.2 . 7000"),
        ("publish_any", f"udp . 7002 {comment} : 10.10.10.2 . 7001"),
    }


def translate(them: list[Element], address: str, proto: str, port: int) -> int | None:
    """What the chain `publish` does: the maps in their order; the container's port."""
    for place, key in (
        (elements.PUBLISH_ADDRESS, (address, proto)),
        (elements.RANGE_ADDRESS, (address, proto)),
        (elements.PUBLISH_ANY, (proto,)),
        (elements.RANGE_ANY, (proto,)),
    ):
        for e in them:
            if e.place == place and e.key[:-1] == key and port in e.ports:
                return int(e.value[1]) if len(e.value) > 1 else port
    return None


@given(BINDINGS)
def test_every_binding_leads_to_its_port_and_no_other_does(bindings: list[PortBinding]) -> None:
    them = list(elements.of_endpoint(endpoint(*bindings), "hawse"))
    assert len({(e.place, e.key) for e in them}) == len(them)
    exact = {(str(b.host_ip or "0.0.0.0"), b.proto, b.host_port): b.container_port for b in bindings}
    for address in ("127.0.0.1", "192.0.2.1", "198.51.100.1"):
        for proto in ("tcp", "udp"):
            for port in range(7998, 8015):
                wanted = exact.get((address, proto, port), exact.get(("0.0.0.0", proto, port)))
                assert translate(them, address, proto, port) == wanted


@given(BINDINGS, BINDINGS)
def test_the_index_finds_what_is_in_the_way(one: list[PortBinding], two: list[PortBinding]) -> None:
    there, new = elements.of_endpoint(endpoint(*one), "a"), elements.of_endpoint(endpoint(*two), "b")
    index = Index(there)
    for element in new:
        expected = {e for e in there if e.shadows(element)}
        assert set(index.in_the_way(element)) == expected
    for element in there:
        assert element in index
        index.discard(element)
    assert list(index) == [] and not any(index.in_the_way(e) for e in new)


def json_of(element: Element) -> Any:
    """As nft 1.0 lists it."""

    def part(text: str) -> Any:
        if "-" in text:
            return {"range": [int(n) for n in text.split("-")]}
        if "/" in text:
            address, _, length = text.partition("/")
            return {"prefix": {"addr": address, "len": int(length)}}
        return int(text) if text.isdecimal() else text

    def whole(parts: tuple[str, ...]) -> Any:
        return part(parts[0]) if len(parts) == 1 else {"concat": [part(p) for p in parts]}

    key = {"elem": {"val": whole(element.key), "comment": element.comment}}
    return [key, whole(element.value)] if element.value else key


@given(BINDINGS)
def test_listings_are_read_back(bindings: list[PortBinding]) -> None:
    them = [*elements.of_endpoint(endpoint(*bindings), "hawse"), *elements.of_network(NET, "hawse")]
    listing: list[dict[str, Any]] = [{"metainfo": {}}]
    for place in ruleset.PLACES:
        body = {"name": place, "elem": [json_of(e) for e in them if e.place == place]}
        listing.append({"map" if place in elements.OF_PORTS else "set": body})
    listing.append({"set": {"name": "foreign", "elem": ["10.0.0.1"]}})
    assert set(elements.parse(listing)) == {*them, Element("foreign", ("10.0.0.1",))}


def test_commands() -> None:
    them = elements.of_network(NET, "hawse")
    assert elements.delete("t", them[:2]) == (
        'delete element inet t bridges { "testbr" }\ndelete element inet t same { "testbr" . "testbr" }\n'
    )
    assert elements.add("t", []) == ""


def test_the_ruleset_is_static() -> None:
    """Promise 5: no rule for a network or container; only sets and maps are looked up."""
    text = ruleset.install("t")
    assert "hawse" not in text and text.startswith("add table inet t\n")
    assert "add table" not in ruleset.install("t", create=False)
    replaced = ruleset.install("t", old_chains=["forward"])
    assert replaced.index("flush chain") < replaced.index("delete chain") < replaced.index("add chain")
    assert "delete set" not in replaced and "delete map" not in replaced
