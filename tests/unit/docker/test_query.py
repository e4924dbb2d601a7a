"""Query strings and filters: both of Docker's encodings, every bad value a named 400."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.api import wire
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.docker import filters
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.query import Query, parse_timestamp

NOW = 1_700_000_000 * 10**9
KNOWN = frozenset({"label", "name", "id", "dangling"})


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "x"])
def test_what_counts_as_true(text: str) -> None:
    assert Query({"all": [text]}).flag("all") is True


@pytest.mark.parametrize("text", ["", "0", "no", "False", "none"])
def test_what_counts_as_false(text: str) -> None:
    assert Query({"all": [text]}).flag("all", default=True) is False


def test_the_first_of_several_values_counts_unless_all_are_asked_for() -> None:
    query = Query.parse("changes=ENV+a%3D1&changes=CMD%20x&t=&t=5")
    assert (query.text("changes"), list(query.texts("changes"))) == ("ENV a=1", ["ENV a=1", "CMD x"])
    assert "t" in query and query.integer("t", 3) == 3
    with pytest.raises(UserError, match="query string"):
        Query.parse("&".join(f"k{i}=1" for i in range(2000)))


def test_absent_parameters_have_defaults() -> None:
    query = Query({})
    assert (query.flag("a", True), query.integer("b", 7), query.text("c", "d")) == (True, 7, "d")
    assert query.timestamp("since", NOW) is None


@pytest.mark.parametrize("text", ["x", "1.5", "99999999999", "-9"])
def test_a_bad_number_is_named(text: str) -> None:
    with pytest.raises(UserError, match="limit"):
        Query({"limit": [text]}).integer("limit", 0, least=-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", NOW),
        ("1700000000.5", NOW + 5 * 10**8),
        ("1700000000.000000001", NOW + 1),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.123456789Z", NOW + 123_456_789),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14", NOW - (22 * 3600 + 13 * 60 + 20) * 10**9),
        ("10m", NOW - 600 * 10**9),
        ("1h30m", NOW - 5400 * 10**9),
        ("500ms", NOW - 5 * 10**8),
    ],
)
def test_the_ways_to_say_when(text: str, expected: int) -> None:
    assert parse_timestamp("since", text, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "10 m", "2023-13-01", "--1", "1700000000.0000000001"])
def test_a_bad_time_is_named(text: str) -> None:
    with pytest.raises(UserError, match="since"):
        parse_timestamp("since", text, NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_user_error(text: str) -> None:
    try:
        assert isinstance(parse_timestamp("since", text, NOW), int)
    except UserError:
        pass


@pytest.mark.parametrize("text", ['{"label":["a=b","c"]}', '{"label":{"a=b":true,"c":true,"d":false}}'])
def test_both_encodings_mean_the_same(text: str) -> None:
    assert filters.parse(text, KNOWN).values == {"label": ("a=b", "c")}


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"frob":["x"]}', '{"name":"x"}', '{"name":[1]}', "[" * 10_000])
def test_bad_filters_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="invalid filter"):
        filters.parse(text, KNOWN)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KNOWN, "x"]), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_json_is_filters_or_a_user_error(raw: object) -> None:
    try:
        assert isinstance(filters.parse(json.dumps(raw), KNOWN), Filters)
    except UserError:
        pass


def test_how_values_match() -> None:
    wanted = Filters({"name": ("^web", "(["), "id": ("abc",), "label": ("a", "b=c"), "dangling": ("true",)})
    assert wanted.pattern("name", "web1") and wanted.pattern("name", "x([y") and not wanted.pattern("name", "my-web")
    assert wanted.prefix("id", "abcdef") and not wanted.prefix("id", "fabc")
    assert (
        wanted.labels({"a": "1", "b": "c"})
        and not wanted.labels({"a": "1", "b": "d"})
        and not wanted.labels({"b": "c"})
    )
    assert wanted.flag("dangling") is True and wanted.flag("other") is None
    assert wanted.exact("absent", "anything")


def test_labels_that_must_not_be_there() -> None:
    wanted = Filters({"label!": ("keep", "env=prod")})
    assert wanted.any_label({"keep": ""}, "label!") and wanted.any_label({"env": "prod"}, "label!")
    assert not wanted.any_label({"env": "test"}, "label!")


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=8), st.data())
def test_frames_survive_any_cut(messages: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(wire.frame(number, payload) for number, payload in messages)
    buffer, found = bytearray(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        buffer += stream[:cut]
        stream = stream[cut:]
        found += list(wire.split_frames(buffer))
    assert found == messages and not buffer
