"""A copy of every record in a file of its own, from which a lost or damaged database can be made anew (rebuild.py).

    ROOT/records/v1/{container,network,image,volume}/NAME.json

They follow the journal at a short distance: what changed several times meanwhile is written once, and what came and went
not at all.  Nobody waits for them and nothing reads them while the database is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import structlog

from hawse.supervisor.core import wishfields
from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Container, Endpoint, Lease, Record, encode
from hawse.supervisor.linux import threads
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

GATHER: Final = 0.02  # seconds that news are gathered before they are written
NAME_MAX: Final = 255  # limits.h
RETRY: Final = 5.0  # seconds until what could not be written is tried again
KINDS: Final = ("container", "network", "image", "volume")

log = structlog.get_logger()


class ContainerCopy(Record, frozen=True, kw_only=True):
    """A container with everything else that goes when it is removed."""

    container: Container
    leases: tuple[Lease, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


def directory(root: Path) -> Path:
    return root / "records" / "v1"


def make_directories(root: Path) -> None:
    for kind in KINDS:
        (directory(root) / kind).mkdir(mode=0o700, parents=True, exist_ok=True)  # environments hold secrets


class Copies:
    def __init__(self, root: Path, store: Store) -> None:
        self._directory = directory(root)
        self._store = store
        self._changed: set[str] = set()
        self._news = anyio.Event()

    async def run(self) -> None:
        """Run until cancelled.  At first everything is looked at: the last daemon may have been killed before it wrote."""
        with self._store.journal.subscribe(self._told):
            self._changed.update(await self._store.read(_subjects))
            self._changed.update(await threads.run_sync(lambda: list(_written(self._directory))))
            while True:
                if await self._write():
                    await self._news.wait()
                    await anyio.sleep(GATHER)
                else:
                    await anyio.sleep(RETRY)
                self._news = anyio.Event()

    def _told(self, event: Event) -> None:
        if event.subject.partition("/")[0] in KINDS:
            self._changed.add(event.subject)
            self._news.set()

    async def _write(self) -> bool:
        """Write what has changed; whether all is written."""
        changed, self._changed = self._changed, set()
        try:
            texts = await self._store.read(lambda tx: {subject: _text(tx, subject) for subject in changed})
            await threads.run_sync(_put, self._directory, texts)
        except (HawseError, OSError) as e:  # a full disk, say: the database is what counts
            log.warning("records_not_copied", error=str(e), retry_in=RETRY)
            self._changed |= changed
            return False
        return True


def _subjects(tx: Tx) -> list[str]:
    return [
        *(f"container/{c.id}" for c in tx.containers()),
        *(f"network/{n.name}" for n in tx.networks()),
        *(f"image/{i.id}" for i in tx.images()),
        *(f"volume/{v.name}" for v in tx.volumes()),
    ]


def _written(top: Path) -> Iterator[str]:
    for kind in KINDS:
        if (top / kind).is_dir():
            yield from (f"{kind}/{entry.name.removesuffix('.json')}" for entry in (top / kind).glob("*.json"))


def _text(tx: Tx, subject: str) -> bytes | None:
    """Return what its file has to hold; None for no file."""
    kind, _, name = subject.partition("/")
    record: Record | None
    match kind:
        case "container":
            container = tx.container(name)
            record = container and ContainerCopy(
                container=container,
                leases=tuple(tx.leases(container_id=name)),
                endpoints=tuple(tx.endpoints(name)),
            )
        case "network":
            record = tx.network(name)
        case "image":
            record = tx.image(name)
        case _:
            record = tx.volume(name)
    return encode(record) if record is not None else None


def _put(top: Path, texts: dict[str, bytes | None]) -> None:
    for subject, text in texts.items():
        path = top / f"{subject}.json"
        if len(path.name) > NAME_MAX:
            continue  # a volume of an endless name: it can be made again by that name, over the same directory
        if text is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_bytes() != text:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(text)
            os.replace(fresh, path)


def renewed(text: bytes) -> bytes:
    """A container's copy that an earlier daemon may have written.  Raises msgspec.DecodeError."""
    copy = msgspec.json.decode(text, type=dict[str, Any])
    if isinstance(copy.get("container"), dict):
        wishfields.renew(copy["container"])
    return msgspec.json.encode(copy)


def any_written(root: Path) -> bool:
    return next(_written(directory(root)), None) is not None


def read(root: Path, kind: str) -> Iterable[bytes]:
    """The copies of one kind, unparsed."""
    place = directory(root) / kind
    return [entry.read_bytes() for entry in sorted(place.glob("*.json"))] if place.is_dir() else []
