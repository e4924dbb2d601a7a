"""HTTP as the client reads it: every framing, connections kept and dropped, errors in words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hawse.cli.errors import ApiError, Disconnected, Failure, NoDaemon
from hawse.cli.wire.client import Client, query_string, quote
from tests.unit.cli.daemon import CliDaemon, Request


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(daemon: CliDaemon) -> Iterator[Client]:
    with Client(str(daemon.path)) as made:
        yield made


def raw_server(path: Path, *answers: bytes) -> threading.Thread:
    """Answers one connection each, byte for byte, and closes it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    with suppress(BrokenPipeError):  # of an answer that is none, a client reads only the beginning
                        connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_json_answer(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["GET /info"] = {"a": 1}
    assert client.get("/info", x=1, y=None, z=True, filters={"a": ["b"]}) == {"a": 1}
    (seen,) = daemon.seen
    assert seen.query == {"x": "1", "z": "1", "filters": '{"a": ["b"]}'}


def test_a_body_is_sent_as_json(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["POST /x"] = {}
    client.post("/x", {"ä": "é"})
    assert daemon.seen[0].json == {"ä": "é"}
    assert daemon.seen[0].headers["content-type"] == "application/json"


def test_one_connection_carries_many_requests(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["GET /a"] = [1]
    daemon.routes["POST /b"] = None
    for _ in range(3):
        client.get("/a")
        client.post("/b")
    assert len({id(r.sock) for r in daemon.seen}) == 1


def test_a_second_request_while_one_streams(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["GET /a"] = [1]

    def stream(request: Request) -> None:
        request.begin()
        request.chunk(b"one\n")
        request.chunk(b"two\nthr")
        request.chunk(b"ee")
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes["GET /stream"] = stream
    with client.open("GET", "/stream") as response:
        lines = response.lines()
        assert next(lines) == b"one"
        assert client.get("/a") == [1]
        assert list(lines) == [b"two", b"three"]


def test_an_error_carries_the_daemons_message(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["GET /x"] = lambda r: r.answer({"message": "no such x"}, 404)
    with pytest.raises(ApiError) as caught:
        client.get("/x")
    assert (caught.value.status, caught.value.reason) == (404, "no such x")
    assert caught.value.message == "Error response from daemon: no such x"


def test_not_modified_is_fine(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["POST /x"] = lambda r: r.answer(None, 304)
    assert client.post("/x") is None
    assert client.post("/x") is None


def test_head_has_no_body_whatever_its_length_says(tmp_path: Path) -> None:
    thread = raw_server(tmp_path / "s", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nX-A: b\r\n\r\n")
    with Client(str(tmp_path / "s")) as client, client.open("HEAD", "/x") as response:
        assert response.headers["x-a"] == "b" and response.body() == b""
    thread.join()


def test_a_body_that_ends_with_the_connection(tmp_path: Path) -> None:
    thread = raw_server(tmp_path / "s", b"HTTP/1.1 200 OK\r\n\r\n[1,\r\n2]")
    with Client(str(tmp_path / "s")) as client:
        assert client.get("/x") == [1, 2]
    thread.join()


def test_interim_answers_are_skipped(tmp_path: Path) -> None:
    thread = raw_server(tmp_path / "s", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    with Client(str(tmp_path / "s")) as client:
        assert client.get("/x") == 1
    thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
)
def test_an_answer_that_is_cut_short(tmp_path: Path, answer: bytes) -> None:
    thread = raw_server(tmp_path / "s", answer)
    with pytest.raises(Disconnected, match="middle of an answer"):
        Client(str(tmp_path / "s")).get("/x")
    thread.join()


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"\0" * 100_000])
def test_something_that_is_no_daemon(tmp_path: Path, answer: bytes) -> None:
    thread = raw_server(tmp_path / "s", answer)
    with pytest.raises(Failure, match=r"not HTTP|not a hawse daemon"):
        Client(str(tmp_path / "s")).get("/x")
    thread.join()


def test_a_connection_closed_while_idle_is_made_again(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
    thread = raw_server(tmp_path / "s", answer, answer, answer)
    with Client(str(tmp_path / "s")) as client:
        assert [client.get("/x"), client.get("/x"), client.get("/x")] == [1, 1, 1]
    thread.join()


def test_an_upload_arrives_whole_and_an_early_refusal_is_read(daemon: CliDaemon, client: Client) -> None:
    daemon.routes["PUT /x"] = None
    with client.open("PUT", "/x", content=iter([b"a" * 100_000, b"", b"b"])):
        pass
    assert daemon.seen[0].body == b"a" * 100_000 + b"b"


def test_a_refusal_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    said = b'{"message":"disk full"}'
    thread = raw_server(tmp_path / "s", b"HTTP/1.1 507 X\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
    with Client(str(tmp_path / "s")) as client, pytest.raises(ApiError, match="disk full"):
        client.open("PUT", "/x", content=(b"x" * 65536 for _ in range(100)))
    thread.join()


def test_many_requests_are_outstanding_together_and_answered_in_order(daemon: CliDaemon, client: Client) -> None:
    together = threading.Barrier(8, timeout=60)

    def answer(request: Request) -> None:
        together.wait()  # passes only when eight are here at once
        if request.path.endswith("3"):
            request.answer({"message": "three"}, 409)
        else:
            request.answer(request.path)

    daemon.routes["POST /.*"] = answer
    answers = list(client.together(("POST", f"/{n}", {}) for n in range(16)))
    assert [a if isinstance(a, str) else a.reason for a in answers] == [
        "three" if n in (3, 13) else f"/{n}" for n in range(16)
    ]


def test_a_hijack_leaves_what_came_with_the_head_in_the_buffer(daemon: CliDaemon, client: Client) -> None:
    def talk(request: Request) -> None:
        request.sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\nearly")

    daemon.routes["POST /attach"] = talk
    response = client.hijack("/attach", {"stream": True})
    while len(response.buffer) < 5:
        response.buffer += response.sock.recv(10)
    assert bytes(response.buffer) == b"early"
    assert daemon.seen[0].headers["upgrade"] == "tcp"
    response.sock.close()


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"no hawse daemon answers on unix://.*/s\."):
        Client(str(tmp_path / "s")).get("/x")


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
    with pytest.raises(NoDaemon, match="no hawse daemon answers"):
        Client(str(tmp_path / "s")).get("/x")


def test_the_absent_daemon_is_started_once(tmp_path: Path) -> None:
    tries = []
    with pytest.raises(NoDaemon):
        Client(str(tmp_path / "s"), lambda: tries.append(1)).get("/x")
    assert tries == [1]


def test_quoting() -> None:
    assert quote("a b/ü?#") == "a%20b%2F%C3%BC%3F%23"
    assert quote("repo/name:tag", b"/:") == "repo/name:tag"
    assert query_string({"a": "x&y", "b": False, "c": None, "d": [1]}) == "a=x%26y&b=0&d=%5B1%5D"
