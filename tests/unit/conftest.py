"""Records to test with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    Image,
    ImageId,
    Network,
    NetworkName,
    State,
    encode,
)
from hawse.supervisor.store.store import Store

if TYPE_CHECKING:
    from hawse.supervisor.engine import Engine
    from hawse.supervisor.parts import Parts


class Samples:
    """Numbered records: the same number gives the same record."""

    def container(self, n: int = 1, **changes: Any) -> Container:
        given: dict[str, Any] = {
            "id": ContainerId(f"{n:04x}".ljust(64, "a")),
            "name": f"c{n}",
            "config": ContainerConfig(image="busybox", cmd=("true",)),
            "state": State.CREATED,
            "created_at": n,
        }
        return Container(**{**given, **changes})

    def network(self, n: int = 1, **changes: Any) -> Network:
        given: dict[str, Any] = {
            "id": f"{n:04x}".ljust(64, "b"),
            "name": NetworkName(f"n{n}"),
            "driver": "bridge",
            "created_at": n,
            "subnet": IPv4Network((0x0A000000 + n * 256, 24)),
            "gateway": IPv4Address(0x0A000001 + n * 256),
            "device": f"br{n}",
        }
        return Network(**{**given, **changes})

    def endpoint(self, container: Container, network: Network, **changes: Any) -> Endpoint:
        assert network.subnet is not None
        given: dict[str, Any] = {
            "container_id": container.id,
            "network": network.name,
            "address": network.subnet[2],
            "prefix": 24,
            "mac": "02:00:00:00:00:02",
            "gateway": network.gateway,
            "veth": f"h{container.name}{network.name}",
            "ifname": "eth0",
        }
        return Endpoint(**{**given, **changes})

    def image(self, n: int = 1, **changes: Any) -> Image:
        given: dict[str, Any] = {
            "id": ImageId(f"sha256:{n:04x}".ljust(71, "c")),
            "created_at": n,
            "layers": (f"layer{n}",),
            "tags": (f"image{n}:latest",),
        }
        return Image(**{**given, **changes})


class Clock:
    """Stands still until it is told, or slept on; ns since the epoch."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)


def before_wishes(container: Container, **fields: Any) -> dict[str, Any]:
    """The record as earlier builds wrote it, with five fields for what is its wish now (core/wishfields.py)."""
    record = msgspec.json.decode(encode(container))
    del record["wish"]
    nothing = {"stopped_by_user": False, "ended_by": "", "end_signal": 0, "end_grace": -1, "drops_volumes": False}
    return {**record, **nothing, **fields}


@pytest.fixture
def samples() -> Samples:
    return Samples()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "state.db", clock) as opened:
        yield opened


@pytest.fixture
async def parts(tmp_path: Path, store: Store, clock: Clock) -> AsyncIterator[Parts]:
    """What the daemon is made of, over the store of the test; its waits hear of what is committed."""
    from tests.unit.parts import make_parts  # only its tests pay for its imports

    parts = await make_parts(tmp_path, store, clock)
    with store.journal.subscribe(parts.live.waits.told):
        yield parts


@pytest.fixture
async def engine(parts: Parts) -> AsyncIterator[Engine]:
    """The engine over those parts, none of whose tasks run."""
    from tests.unit.parts import idle_engine

    with idle_engine(parts) as engine:
        yield engine


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Any]:
    """The API server in front of an engine without a kernel."""
    from tests.unit.api.client import served  # only its tests pay for its imports

    async with served(tmp_path) as api:
        yield api
