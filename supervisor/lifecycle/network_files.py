"""The three files that a container is given: written before a start, and kept true while its networks change.

They are bind-mounted, so they are changed where they are.  Who shares another's network is given that one's very files, as
with docker; they live as long as somebody has them mounted.  What they hold is decided in runtime/etc_files.py.

A program inside may write what it likes into them: nothing is read but by `_change`, which reads no more than LARGEST.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec.structs import replace

from hawse.supervisor.core.model import Container
from hawse.supervisor.lifecycle import links
from hawse.supervisor.lifecycle.networks import BUILTIN
from hawse.supervisor.lifecycle.rootview import in_thread
from hawse.supervisor.parts import Live, Parts
from hawse.supervisor.runtime import etc_files
from hawse.supervisor.store.tx import Tx

LARGEST = 1 << 20
"""Bytes of such a file that are read.  A bigger one is its container's own affair until the next start."""

_HOST_RESOLV = Path("/etc/resolv.conf")
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
"""Whom systemd-resolved asks, where the first file names only itself (systemd-resolved.service(8))."""
_SHARED = "container:"

log = structlog.get_logger()


def owner(tx: Tx, container: Container) -> Container | None:
    """Return whose network it has, and so whose names and files: its own, or another's.  None when that one was removed."""
    found: Container | None = container
    while found is not None and found.config.network_mode.startswith(_SHARED):
        found = tx.container(found.config.network_mode.removeprefix(_SHARED))
    return found


def named(tx: Tx, container: Container) -> Container:
    """With the host name of whom it shares the network with, as docker has it: the files say nothing of any other."""
    other = owner(tx, container)
    if other is None or other is container:
        return container
    config = replace(container.config, hostname=_hostname(other), domainname=other.config.domainname)
    return replace(container, config=config)


async def write(parts: Parts, container: Container) -> None:
    """For a start: as it has to be, whatever an earlier run left.  Raises StartError for a link that leads nowhere."""
    paths, config = parts.places.of(container.id), container.config
    if config.network_mode.startswith(_SHARED):
        return
    hostname = _hostname(container)
    addresses, gateway = await parts.store.read(lambda tx: _addressed(tx, container))
    linked = await parts.store.read(lambda tx: links.host_lines(tx, container))
    texts = {
        paths.hostname: f"{hostname}\n",
        paths.hosts: etc_files.hosts(config, hostname, addresses, gateway, linked),
        paths.resolv_conf: _resolv_conf(container, _name_server(parts.live, container)),
    }

    def put() -> None:
        for path, text in texts.items():
            path.write_text(text)
            path.chmod(0o644)
            os.chown(path, 0, 0)  # id-mapped when it is mounted, into each of several containers as its own

    await in_thread("write", put)  # of what a program has made huge, the disk has much to free


async def follow(parts: Parts, container: Container) -> None:
    """Follow a change of its networks while it runs.  Safe to run again; what programs inside have written stays."""
    mode = container.config.network_mode
    if mode in BUILTIN or mode.startswith(_SHARED):
        return
    addresses, _ = await parts.store.read(lambda tx: _addressed(tx, container))
    networks = await parts.store.read(lambda tx: tx.networks())
    subnets = [network.subnet for network in networks if network.subnet]
    gateways = [str(network.gateway) for network in networks]
    hostname, config, paths = _hostname(container), container.config, parts.places.of(container.id)
    wanted, plain = _resolv_conf(container, _name_server(parts.live, container)), _resolv_conf(container, "")

    def change() -> None:
        _change(paths.hosts, lambda text: etc_files.hosts_now(text, config, hostname, addresses, subnets))
        _change(paths.resolv_conf, lambda text: etc_files.resolv_conf_now(text, wanted, plain, gateways))

    await in_thread("follow", change)


def _addressed(tx: Tx, container: Container) -> tuple[list[str], str]:
    """Return its addresses, and the first network's gateway."""
    own, gateway = [], ""
    for request in container.config.endpoints:
        network = tx.network(request.network)
        gateway = gateway or str(network.gateway if network else "")
        own += [str(lease.address) for lease in tx.leases(request.network, container_id=container.id)]
    return own, gateway


def _name_server(live: Live, container: Container) -> str:
    servers = [live.name_servers[r.network] for r in container.config.endpoints if r.network in live.name_servers]
    return str(servers[0]) if servers else ""


def _resolv_conf(container: Container, name_server: str) -> str:
    host_text = _HOST_RESOLV.read_text() if _HOST_RESOLV.exists() else ""
    shares = container.config.network_mode == "host"
    if not shares and etc_files.is_local(host_text) and _RESOLVED.exists():
        host_text = _RESOLVED.read_text()
    return etc_files.resolv_conf(container.config, host_text, shares_host_network=shares, name_server=name_server)


def _hostname(container: Container) -> str:
    return container.config.hostname or container.id[:12]


def _change(path: Path, changed: Callable[[str], str]) -> None:
    """Change a file; the reading itself is bounded, since a size that was asked for before may be another by then."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return
    with file:
        data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            log.warning(
                "file_not_changed", path=str(path), reason=f"its container has made it bigger than {LARGEST} bytes"
            )
            return
        text = data.decode(errors="surrogateescape")
        if (new := changed(text)) != text:
            file.seek(0)
            file.write(new.encode(errors="surrogateescape"))
            file.truncate()
