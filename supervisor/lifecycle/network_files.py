"""The three files that a container is given: written before a start, and kept true while its networks change.

They are bind-mounted, so they are changed where they are.  Who shares another's network has copies of its own, which
follow.  What they hold is decided in runtime/etc_files.py.
"""

from __future__ import annotations

import os
from pathlib import Path

from hawse.supervisor.model import Container, State
from hawse.supervisor.networks import BUILTIN
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime import etc_files
from hawse.supervisor.store.tx import Tx

_HOST_RESOLV = Path("/etc/resolv.conf")
_LARGEST = 1 << 20  # bytes; a program inside may write what it likes


async def write(parts: Parts, container: Container) -> None:
    """For a start: as it has to be, whatever an earlier run left."""
    paths, config = parts.paths(container.id), container.config
    hostname = _hostname(container)
    texts = {paths.hostname: f"{hostname}\n"}
    if config.network_mode.startswith("container:"):  # one network, one set of names
        target = config.network_mode.partition(":")[2]
        other = parts.paths((await parts.store.read(lambda tx: tx.find(target))).id)
        for own, shared in ((paths.hosts, other.hosts), (paths.resolv_conf, other.resolv_conf)):
            texts[own] = shared.read_text() if shared.exists() else ""
    else:
        addresses, gateway = await parts.store.read(lambda tx: _addressed(tx, container))
        texts[paths.hosts] = etc_files.hosts(config, hostname, addresses, gateway)
        texts[paths.resolv_conf] = _resolv_conf(container, _name_server(parts, container))
    for path, text in texts.items():
        path.write_text(text)
        path.chmod(0o644)
        if container.uid_base is not None:
            os.chown(path, container.uid_base, container.uid_base)


async def follow(parts: Parts, container: Container) -> None:
    """Its networks have changed while it runs.  Safe to run again; what programs inside have written stays."""
    mode = container.config.network_mode
    if mode in BUILTIN or mode.startswith("container:"):
        return

    def read(tx: Tx) -> tuple[list[str], list[Container]]:
        sharing = [c for c in tx.containers() if c.config.network_mode == f"container:{container.id}"]
        return _addressed(tx, container)[0], [c for c in sharing if c.state in (State.RUNNING, State.PAUSED)]

    addresses, sharing = await parts.store.read(read)
    networks = await parts.store.read(lambda tx: tx.networks())
    subnets = [network.subnet for network in networks if network.subnet]
    gateways = [str(network.gateway) for network in networks]
    hostname, config = _hostname(container), container.config
    wanted, plain = _resolv_conf(container, _name_server(parts, container)), _resolv_conf(container, "")
    for each in (container, *sharing):
        paths = parts.paths(each.id)
        if (text := _read(paths.hosts)) is not None:
            _put(paths.hosts, text, etc_files.hosts_now(text, config, hostname, addresses, subnets))
        if (text := _read(paths.resolv_conf)) is not None:
            _put(paths.resolv_conf, text, etc_files.resolv_conf_now(text, wanted, plain, gateways))


def _addressed(tx: Tx, container: Container) -> tuple[list[str], str]:
    """Its addresses, and the first network's gateway."""
    own, gateway = [], ""
    for request in container.config.endpoints:
        network = tx.network(request.network)
        gateway = gateway or str(network.gateway if network else "")
        own += [str(lease.address) for lease in tx.leases(request.network, container_id=container.id)]
    return own, gateway


def _name_server(parts: Parts, container: Container) -> str:
    servers = [parts.name_servers[r.network] for r in container.config.endpoints if r.network in parts.name_servers]
    return str(servers[0]) if servers else ""


def _resolv_conf(container: Container, name_server: str) -> str:
    host_text = _HOST_RESOLV.read_text() if _HOST_RESOLV.exists() else ""
    shares = container.config.network_mode == "host"
    return etc_files.resolv_conf(container.config, host_text, shares_host_network=shares, name_server=name_server)


def _hostname(container: Container) -> str:
    return container.config.hostname or container.id[:12]


def _read(path: Path) -> str | None:
    """None for what is not ours to change any more."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        return path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return None


def _put(path: Path, old: str, new: str) -> None:
    if new != old:
        with path.open("r+", errors="surrogateescape") as file:
            file.write(new)
            file.truncate()
