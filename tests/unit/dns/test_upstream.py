"""Other name servers, some of which do not answer as they should."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from hawse.supervisor.dns import upstream
from hawse.supervisor.dns.upstream import Upstream

QUESTION = b"id" + bytes(10) + b"what?"
SERVER = "127.0.0.1"


@asynccontextmanager
async def server(monkeypatch: pytest.MonkeyPatch, answers: Callable[[bytes], list[bytes]]) -> AsyncIterator[None]:
    """Sends all of `answers(question)`."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((SERVER, 0))
        sock.setblocking(False)
        monkeypatch.setattr(upstream, "PORT", sock.getsockname()[1])

        def answer() -> None:
            wire, asker = sock.recvfrom(4096)
            for told in answers(wire):
                sock.sendto(told, asker)

        loop.add_reader(sock, answer)
        yield
        loop.remove_reader(sock)


def good(wire: bytes) -> bytes:
    return wire[:2] + b"\x80\0" + wire[4:]


async def ask() -> bytes | None:
    return await Upstream(lambda bits: 0x4142).ask(QUESTION, [SERVER], [], datagram=True)


async def test_the_answer_has_the_askers_id(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(monkeypatch, lambda wire: [good(wire)]):
        assert await ask() == good(QUESTION)


async def test_what_is_no_answer_to_the_question_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    strays = [b"", b"short", good(QUESTION), b"AB" + bytes(10)]  # too short, another id, a question
    async with server(monkeypatch, lambda wire: [*strays, good(wire)]):
        assert await ask() == good(QUESTION)


async def test_a_server_that_floods_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(monkeypatch, lambda wire: [b"stray"] * upstream.MOST_STRAY + [good(wire)]):
        assert await ask() is None
