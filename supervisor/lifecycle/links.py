"""Links on the default network: lines of /etc/hosts that name other containers, written at a start.

They stay true while it runs: an address is its container's from create to remove.
"""

from __future__ import annotations

from hawse.supervisor.core.errors import NotFound, StartError, UserError
from hawse.supervisor.core.model import DEFAULT_NETWORK, Container, ContainerConfig
from hawse.supervisor.store.tx import Tx


def check(tx: Tx, config: ContainerConfig) -> None:
    """Raises UserError for a link to a container that is not there."""
    for link in config.links:
        name = link.partition(":")[0]
        try:
            tx.find(name)
        except NotFound as e:
            raise UserError(f"could not get container for {name}: {e.message}") from None


def host_lines(tx: Tx, container: Container) -> list[tuple[str, str]]:
    """Addresses, and the names for each.  Raises StartError, as docker does, for one that does not run or is elsewhere."""
    lines = []
    for link in container.config.links:
        name, _, alias = link.partition(":")
        try:
            other = tx.find(name)
        except NotFound as e:
            raise StartError(f"could not get container for {name}: {e.message}", stage="network") from None
        if not other.state.is_alive:
            raise StartError(
                f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}", stage="network"
            )
        leases = tx.leases(DEFAULT_NETWORK, container_id=other.id)
        if not leases:
            raise StartError(
                f"Cannot link to /{other.name}, as it does not belong to the default network", stage="network"
            )
        names = dict.fromkeys((alias, other.config.hostname or other.id[:12], other.name))
        lines += [(str(lease.address), " ".join(names)) for lease in leases]
    return lines
