"""A shim of an earlier hawse, as it once spoke: what was recorded then must be understood by every later daemon.

tests/fixtures/shim-v1.jsonl is a real conversation of version 1 (direction, message, number of descriptors).  It is never
edited; a new version of the protocol gets a file of its own.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.reports import ForeignShim
from hawse.supervisor.shim import protocol

RECORDED = Path(__file__).parents[2] / "fixtures/shim-v1.jsonl"


def replay(listener: socket.socket, conversation: list[Any]) -> None:
    """Say the shim's part; each request of the daemon must be the recorded one."""
    connection, _ = listener.accept()
    rid = None
    for direction, message, descriptors in conversation:
        if direction == ">":
            asked, _ = protocol.receive(connection)
            assert asked["op"] == message["op"]
            rid = asked["rid"]
            continue
        fds = tuple(os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors - 1))
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) if descriptors else None
        told = {**message, "rid": rid} if "rid" in message else message
        protocol.send(connection, told, (*fds, *([netlink.fileno()] if netlink else [])))
        if netlink:
            netlink.close()
    connection.close()


def shim_says(path: Path, conversation: list[Any]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            replay(listener, conversation)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


async def test_version_1_is_understood(tmp_path: Path) -> None:
    conversation = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    thread = shim_says(tmp_path / "s", conversation)
    shim = await Shim.reconnect(tmp_path / "s", ContainerId("c" * 64), tmp_path)
    assert (shim.identity.pid, shim.identity.start_time) == (47, 830801)
    (await shim.netlink_socket()).close()
    info = await shim.wait_exit()
    assert (info.code, info.signal, info.finished_at) == (137, 9, 1795467135466840666)
    shim.close()
    thread.join(60)


@pytest.mark.parametrize("version", [protocol.MIN_VERSION - 1, protocol.VERSION + 1])
async def test_another_version_is_refused_with_a_way_out(tmp_path: Path, version: int) -> None:
    thread = shim_says(tmp_path / "s", [["<", {"ev": "hello", "version": version}, 0]])
    with pytest.raises(ForeignShim, match=rf"version {version}.*it keeps running"):
        await Shim.reconnect(tmp_path / "s", ContainerId("c" * 64), tmp_path)
    thread.join(60)
