"""Rows of networks and of what they hand out: leases, endpoints, published ports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address

from hawse.supervisor.core.errors import Conflict, Forbidden, NotFound, UserError
from hawse.supervisor.core.model import Endpoint, Lease, Network, PortBinding, PortReservation, decoder, encode
from hawse.supervisor.store.session import Session, near

_NETWORK = decoder(Network)
_ENDPOINT = decoder(Endpoint)
EVERY_ADDRESS = "0.0.0.0"


class NetworkRows(Session):
    def network(self, name: str) -> Network | None:
        row = self._one("SELECT json FROM networks WHERE name = ?", name)
        return _NETWORK.decode(row[0]) if row else None

    def networks(self) -> list[Network]:
        """All of them, by name."""
        return [_NETWORK.decode(j) for j in self._column("SELECT json FROM networks ORDER BY name")]

    def find_network(self, ref: str) -> Network:
        """By full id, else name, else unique prefix of an id.  Raises NotFound, UserError."""
        rows = self._all("SELECT json FROM networks WHERE id = ?", ref) or self._all(
            "SELECT json FROM networks WHERE name = ?", ref
        )
        if not rows and ref:
            rows = self._all("SELECT json FROM networks WHERE id BETWEEN ? AND ?", ref, ref + "g")
        if len(rows) > 1:
            raise UserError(f"network {ref} is ambiguous ({len(rows)} matches found based on ID prefix)")
        if not rows:
            raise NotFound(f"network {ref} not found", hint=near(ref, self._column("SELECT name FROM networks")))
        return _NETWORK.decode(rows[0][0])

    def put_network(self, network: Network) -> None:
        """Insert or replace.  Raises Conflict when another network has the name or the device."""
        for column, value, text in (
            ("name", network.name, f"network with name {network.name} already exists"),
            ("bridge", network.device, f"device {network.device} already belongs to another network"),
        ):
            if value and self._one(f"SELECT 1 FROM networks WHERE {column} = ? AND id <> ?", value, network.id):
                raise Conflict(text)
        self._do(
            """INSERT INTO networks (name, id, bridge, json) VALUES (?, ?, NULLIF(?, ''), ?)
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, bridge = excluded.bridge, json = excluded.json""",
            network.name,
            network.id,
            network.device,
            encode(network).decode(),
        )

    def delete_network(self, name: str) -> None:
        """Delete it; its leases (of containers that are not plugged in) go with it; gone is success.

        Raises Forbidden while an endpoint exists.
        """
        if self._one("SELECT 1 FROM endpoints WHERE network = ?", name):
            raise Forbidden(f"error while removing network: network {name} has active endpoints")
        self._do("DELETE FROM networks WHERE name = ?", name)

    # leases

    def leases(self, network: str | None = None, *, container_id: str | None = None) -> list[Lease]:
        """Return the leases of one network, of one container, or all."""
        rows = self._select("network, address, container_id FROM leases", network=network, container_id=container_id)
        return [Lease(network=n, address=IPv4Address(a), container_id=c) for n, a, c in rows]

    def leased(self, network: str) -> Leased:
        """Return which addresses of a network are taken, to be asked and not listed."""
        return Leased(self, network)

    def lease(self, lease: Lease) -> None:
        """Keep an address for a container; one per network, a second one replaces it.

        Raises Conflict when another container has it.
        """
        address = str(lease.address)
        holder = self._one(
            """SELECT c.id, c.name FROM leases l JOIN containers c ON c.id = l.container_id
               WHERE l.network = ? AND l.address = ? AND c.id <> ?""",
            lease.network,
            address,
            lease.container_id,
        )
        if holder:
            raise Conflict(f"Address already in use: {address} on network {lease.network}", hint=_by(*holder))
        self._do(
            """INSERT INTO leases (network, address, container_id) VALUES (?, ?, ?)
               ON CONFLICT (container_id, network) DO UPDATE SET address = excluded.address""",
            lease.network,
            address,
            lease.container_id,
        )
        self._do("UPDATE networks SET last_lease = ? WHERE name = ?", address, lease.network)

    def last_lease(self, network: str) -> IPv4Address | None:
        """The address handed out last, so that the next search begins after it and a freed one rests for a while."""
        row = self._one("SELECT last_lease FROM networks WHERE name = ?", network)
        return IPv4Address(row[0]) if row and row[0] else None

    def release_leases(self, container_id: str, network: str | None = None) -> None:
        wanted, also = ("", ()) if network is None else (" AND network = ?", (network,))
        self._do(f"DELETE FROM leases WHERE container_id = ?{wanted}", container_id, *also)

    # endpoints

    def endpoints(self, container_id: str | None = None, *, network: str | None = None) -> list[Endpoint]:
        """Return the endpoints of one container, of one network, or all; in the order in which they were first connected."""
        rows = self._select("json FROM endpoints", "ORDER BY rowid", container_id=container_id, network=network)
        return [_ENDPOINT.decode(j) for (j,) in rows]

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Insert or replace.  Raises Conflict when another endpoint has the device's name."""
        holder = self._one(
            "SELECT container_id FROM endpoints WHERE veth = ? AND NOT (container_id = ? AND network = ?)",
            endpoint.veth,
            endpoint.container_id,
            endpoint.network,
        )
        if holder:
            raise Conflict(f"device {endpoint.veth} already belongs to container {holder[0][:12]}")
        self._do(
            """INSERT INTO endpoints (container_id, network, veth, json) VALUES (?, ?, NULLIF(?, ''), ?)
               ON CONFLICT (container_id, network) DO UPDATE SET veth = excluded.veth, json = excluded.json""",
            endpoint.container_id,
            endpoint.network,
            endpoint.veth,
            encode(endpoint).decode(),
        )

    def delete_endpoint(self, container_id: str, network: str) -> None:
        """Gone is success."""
        self._do("DELETE FROM endpoints WHERE container_id = ? AND network = ?", container_id, network)

    # published ports

    def port_holders(self, proto: str, host_port: int) -> list[PortReservation]:
        """Return who has a host port, on whatever address."""
        rows = self._all(
            """SELECT p.proto, p.host_ip, p.host_port, p.container_port, c.id, c.name
               FROM ports p JOIN containers c ON c.id = p.container_id WHERE p.proto = ? AND p.host_port = ?""",
            proto,
            host_port,
        )
        return [
            PortReservation(binding=_binding(*binding), container_id=container_id, container_name=name)
            for *binding, container_id, name in rows
        ]

    def reserved_ports(self, container_id: str) -> tuple[PortBinding, ...]:
        """Return what one container holds, by its own ports."""
        rows = self._all(
            """SELECT proto, host_ip, host_port, container_port FROM ports
               WHERE container_id = ? ORDER BY container_port, proto, host_port, host_ip""",
            container_id,
        )
        return tuple(_binding(*row) for row in rows)

    def reservations(self) -> dict[str, list[PortBinding]]:
        """Return what every container holds."""
        found: dict[str, list[PortBinding]] = {}
        rows = self._all("SELECT container_id, proto, host_ip, host_port, container_port FROM ports")
        for container_id, *binding in rows:
            found.setdefault(container_id, []).append(_binding(*binding))
        return found

    def reserve_ports(self, container_id: str, bindings: Iterable[PortBinding]) -> None:
        """All or none, in addition to what the container has.

        A port on every address of the host excludes the same port on any one of them, and the other way round.
        Raises Conflict in docker's words, with the holder as the hint.
        """
        for binding in bindings:
            address = str(binding.host_ip) if binding.host_ip else EVERY_ADDRESS
            holder = self._one(
                f"""SELECT c.id, c.name FROM ports p JOIN containers c ON c.id = p.container_id
                    WHERE p.proto = ? AND p.host_port = ? AND (p.host_ip = ? OR '{EVERY_ADDRESS}' IN (p.host_ip, ?))""",
                *(binding.proto, binding.host_port, address, address),
            )
            if holder:
                raise Conflict(
                    f"Bind for {address}:{binding.host_port} failed: port is already allocated", hint=_by(*holder)
                )
            self._do(
                "INSERT INTO ports (proto, host_port, host_ip, container_port, container_id) VALUES (?, ?, ?, ?, ?)",
                binding.proto,
                binding.host_port,
                address,
                binding.container_port,
                container_id,
            )

    def release_ports(self, container_id: str) -> None:
        self._do("DELETE FROM ports WHERE container_id = ?", container_id)


class Leased(Collection[IPv4Address]):
    """The taken addresses of one network.  Each question is a look into an index: thousands of leases cost nothing."""

    def __init__(self, rows: NetworkRows, network: str) -> None:
        self._rows, self._network = rows, network

    def __contains__(self, address: object) -> bool:
        return self.holder(address) is not None

    def __len__(self) -> int:
        return int(self._rows._one("SELECT count(*) FROM leases WHERE network = ?", self._network)[0])

    def __iter__(self) -> Iterator[IPv4Address]:
        return iter([lease.address for lease in self._rows.leases(self._network)])

    def holder(self, address: object) -> str | None:
        """The name of the container that has it; None: it is free."""
        row = self._rows._one(
            """SELECT c.name FROM leases l JOIN containers c ON c.id = l.container_id
               WHERE l.network = ? AND l.address = ?""",
            self._network,
            str(address),
        )
        return str(row[0]) if row else None


def _binding(proto: str, host_ip: str, host_port: int, container_port: int) -> PortBinding:
    return PortBinding(
        proto=proto,
        host_ip=None if host_ip == EVERY_ADDRESS else IPv4Address(host_ip),
        host_port=host_port,
        container_port=container_port,
    )


def _by(container_id: str, name: str) -> str:
    return f"by container {name} ({container_id[:12]})"
