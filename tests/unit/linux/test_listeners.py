"""Who has a port: asked of the kernel, and not for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.linux import listeners

LOOPBACK = IPv4Address("127.0.0.1")


@pytest.fixture
def taken() -> Iterator[PortBinding]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield PortBinding(container_port=80, host_port=port, host_ip=LOOPBACK)


def test_the_process_is_named(taken: PortBinding) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    assert listeners.who_has(taken) == f"process {name} (pid {os.getpid()})"


def test_a_free_port_has_nobody(taken: PortBinding) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert listeners.who_has(PortBinding(container_port=80, host_port=free, host_ip=LOOPBACK)) == ""


def test_the_search_for_its_name_ends(taken: PortBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with a million descriptors held up everything that is written to the store."""
    monkeypatch.setattr(listeners, "MOST_LOOKS", 1)
    assert listeners.who_has(taken) == ""
