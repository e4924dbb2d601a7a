"""The API as a server on a real socket: versions, errors, routes, its end, and whatever else is sent to it."""

from __future__ import annotations

import asyncio
import json
import socket
from importlib import import_module
from inspect import iscoroutinefunction, signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse.supervisor.api import call, endpoints, native, server, wire
from hawse.supervisor.api.document import document
from hawse.supervisor.api.router import Router
from hawse.supervisor.api.routes import ROUTES
from hawse.supervisor.api.server import make_app, serve
from hawse.supervisor.core.errors import NotFound, Unavailable, UserError
from hawse.supervisor.core.model import State
from hawse.supervisor.parts import Parts
from hawse.supervisor.process.config import Config
from tests.unit.api.client import Api, head
from tests.unit.api.fake_engine import FakeEngine


async def test_ping_tells_the_version(api: Api) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = await api.request(method, "/_ping")
        assert (status, headers["api-version"], headers["ostype"]) == (200, wire.API_VERSION, "linux")
        assert body == (b"OK" if method == "GET" else b"")


async def test_the_socket_is_for_root_and_the_group_only(api: Api) -> None:
    assert api.path.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1.48/info", "client version 1.48 is too new. Maximum supported API version is 1.47"),
        ("/v1.12/info", "client version 1.12 is too old. Minimum supported API version is 1.24"),
    ],
)
async def test_versions_that_nobody_speaks(api: Api, path: str, message: str) -> None:
    status, answer = await api.json("GET", path)
    assert status == 400 and message in answer["message"]


async def test_the_version_prefix_is_optional(api: Api) -> None:
    for prefix in ("", "/v1.24", "/v1.47"):
        assert (await api.request("GET", f"{prefix}/containers/json"))[0] == 200


async def test_what_is_not_there_is_404_and_what_hawse_lacks_is_501(api: Api) -> None:
    status, answer = await api.json("GET", "/nowhere")
    assert (status, answer["message"].split(" (")[0]) == (404, "page not found")
    status, answer = await api.json("POST", "/v1.47/build?t=x")
    assert status == 501 and "does not build" in answer["message"]
    status, answer = await api.json("GET", "/v1.47/swarm")
    assert status == 503 and answer["message"].startswith("This node is not a swarm manager.")
    for method, path in (
        ("POST", "services/create"),
        ("GET", "nodes/x"),
        ("DELETE", "secrets/x"),
        ("GET", "swarm/unlockkey"),
    ):
        assert await api.json(method, f"/v1.47/{path}") == (503, answer), path
    assert (await api.json("POST", "/v1.47/swarm/leave?force=1"))[1]["message"] == "This node is not part of a swarm"
    assert (await api.json("POST", "/v1.47/swarm/init", {}))[0] == 501
    assert await api.json("GET", "/v1.47/plugins") == (200, [])


async def test_a_body_has_an_end(api: Api) -> None:
    status, answer = await api.json("POST", "/v1.47/containers/create", b'{"Image": "' + b"a" * (9 << 20) + b'"}')
    assert status == 400 and "larger than 8 MiB" in answer["message"]


async def test_an_unexpected_error_is_a_500_that_names_the_request(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(ref: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(api.engine, "pause", broken)
    status, headers, body = await api.request("POST", "/containers/x/pause")
    message = json.loads(body)["message"]
    assert status == 500 and headers["x-hawse-request-id"] in message and "secret" not in message
    assert "secret detail" in capsys.readouterr().out


async def test_two_daemons_do_not_share_a_socket(api: Api) -> None:
    config = api.engine.parts.config
    with pytest.raises(Unavailable, match="another daemon answers"):
        async with serve(make_app(api.engine, config), config):
            pass
    assert (await api.request("GET", "/_ping"))[0] == 200


async def test_a_socket_that_a_crash_left_is_replaced_and_anything_else_is_not(parts: Parts) -> None:
    engine, config = FakeEngine(parts), parts.config
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(config.socket_path))
    left.close()
    async with serve(make_app(engine, config), config):
        assert (await Api(engine, config.socket_path).request("GET", "/_ping"))[0] == 200
    assert not config.socket_path.exists()
    config.socket_path.write_text("precious")
    with pytest.raises(Unavailable, match="not a socket"):
        async with serve(make_app(engine, config), config):
            pass
    assert config.socket_path.read_text() == "precious"


async def test_an_unknown_group_is_refused_at_the_start(parts: Parts) -> None:
    with pytest.raises(UserError, match="no-such-group"):
        make_app(FakeEngine(parts), Config(group="no-such-group"))


def test_every_route_is_found_by_its_own_path() -> None:
    router = Router()
    for route in ROUTES:
        path = route.path.replace("{ref}", "abc").replace("{name}", "lib/x%3Av1")
        match = router.match(route.method, f"/v1.41{path}")
        assert match.route is route and match.version == (1, 41)
        assert set(match.params.values()) <= {"abc", "lib/x:v1"}
    with pytest.raises(NotFound):
        router.match("GET", "/containers/a/b/json")


def test_every_endpoint_has_a_route() -> None:
    served = {route.handle for route in ROUTES}
    without = [
        f"{module.__name__}.{name}"
        for room in (endpoints, native)
        for module in (import_module(f"{room.__name__}.{found.name}") for found in iter_modules(room.__path__))
        for name, thing in vars(module).items()
        if iscoroutinefunction(thing) and [*signature(thing).parameters] == ["call"] and not name.startswith("_")
        if thing.__module__ == module.__name__ and thing not in served
    ]
    assert not without, "supervisor/api/routes.py does not name them"


def test_the_documentation_is_the_route_table() -> None:
    """Made anew with `python -m hawse.supervisor.api.document > docs/docker-api.md`."""
    page = Path(__file__).parents[3] / "docs" / "docker-api.md"
    assert page.read_text() == document()
    assert not [line for line in document().splitlines() if line.endswith("|  |")], "a handler without a description"


async def test_the_server_ends_although_streams_are_open(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SHUTDOWN_GRACE", 1000)
    engine, config = FakeEngine(parts), parts.config
    with anyio.fail_after(60):
        async with serve(make_app(engine, config), config):
            reader, writer = await Api(engine, config.socket_path).send("GET", "/events")
            await head(reader)
    writer.close()


NASTY = st.sampled_from(["", "0", "-1", "a b", "%00", "{}", '{"a":1}', "[", '{"label":{"x":1}}', "1e99", "é", "9" * 30])
BODIES = st.sampled_from(
    [b"", b"{", b"[]", b"null", b'{"Cmd":5}', b'{"Image":{}}', b'{"Config":[1]}', b"\xff", b"{}" * 99]
)
QUERY = st.dictionaries(
    st.sampled_from(
        "all limit filters since until tail h w t signal name condition detachKeys fromSrc repo tag".split()
    ),
    NASTY,
    max_size=4,
)
STREAMS = {
    "/events",
    "/hawse/v1/events",
    "/containers/{ref}/wait",
    "/containers/{ref}/attach",
    "/containers/{ref}/logs",
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from([r for r in ROUTES if r.path not in STREAMS]),
    query=QUERY,
    body=BODIES,
    ref=st.sampled_from(["web", "nobody", "%2e%2e", "a%00b"]),
)
async def test_nothing_that_is_sent_gives_a_500(
    api: Api, route: Any, query: dict[str, str], body: bytes, ref: str
) -> None:
    if not [c for c in await api.engine.containers() if c.state is State.RUNNING]:
        await api.created()
    path = route.path.replace("{ref}", ref).replace("{name}", ref)
    status, _, answer = await api.request(route.method, f"{path}?{urlencode(query)}", body)
    assert status < 500 or status == max(route.status, 501), (route.path, answer)


GZIP = {"Content-Encoding": "gzip", "Content-Length": "5"}
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/containers/create", GZIP, b"plain"),
        ("/containers/create", CHUNKED, b"no number\r\n{}\r\n0\r\n\r\n"),
        ("/images/create?fromSrc=-&repo=x", CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_that_is_not_what_its_head_says_is_a_bad_request(
    api: Api, path: str, headers: dict[str, str], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api.path))
    lines = [f"POST {path} HTTP/1.1", "Host: docker", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    status, _ = await head(reader)
    assert status == 400
    assert "message" in json.loads((await reader.read()) or b"{}")
    writer.close()
    assert caplog.text == ""


async def test_a_body_has_a_deadline(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "BODY_DEADLINE", 0.05)
    reader, writer = await asyncio.open_unix_connection(str(api.path))
    writer.write(b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{")
    status, fields = await head(reader)
    answer = json.loads(await reader.readexactly(int(fields["content-length"])))
    assert status == 400 and "did not come within" in answer["message"]
    writer.close()
