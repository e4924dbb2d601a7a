"""Rows of containers: the records, their names, their id ranges, and the tombstones of removed ones."""

from __future__ import annotations

from msgspec.structs import replace

from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.events import names_only
from hawse.supervisor.core.model import Container, ContainerId, decoder, encode
from hawse.supervisor.store.session import Session, near

_DECODER = decoder(Container)


class ContainerRows(Session):
    def container(self, container_id: str) -> Container | None:
        row = self._one("SELECT json FROM containers WHERE id = ?", container_id)
        return _DECODER.decode(row[0]) if row else None

    def container_named(self, name: str) -> Container | None:
        row = self._one("SELECT json FROM containers WHERE name = ?", name)
        return _DECODER.decode(row[0]) if row else None

    def containers(self) -> list[Container]:
        """All of them, oldest first."""
        return [_DECODER.decode(j) for j in self._column("SELECT json FROM containers ORDER BY created_at, rowid")]

    def find(self, ref: str) -> Container:
        """By full id, else name, else unique prefix of an id, as docker looks it up.  Raises NotFound, UserError."""
        plain = ref.removeprefix("/")
        row = (
            self._one("SELECT json FROM containers WHERE id = ?", ref)
            or self._one("SELECT json FROM containers WHERE name = ?", plain)
            or self._prefixed("containers", ref)
        )
        if row is None:
            raise NotFound(f"No such container: {ref}", hint=near(plain, self._column("SELECT name FROM containers")))
        return _DECODER.decode(row[0])

    def _prefixed(self, table: str, ref: str) -> tuple[str] | None:
        """The only row whose id begins with `ref`.  Raises UserError when there are several."""
        if not ref:
            return None
        # BETWEEN uses the index, LIKE would not; "g" follows every hex digit
        rows = self._all(f"SELECT json FROM {table} WHERE id BETWEEN ? AND ? LIMIT 2", ref, ref + "g")
        if len(rows) > 1:
            raise UserError(f"multiple IDs found with provided prefix: {ref}")
        return rows[0] if rows else None

    def put(self, container: Container) -> None:
        """Insert or replace.  Raises Conflict when another container has the name."""
        holder = self._one("SELECT id FROM containers WHERE name = ? AND id <> ?", container.name, container.id)
        if holder:
            raise Conflict(
                f'Conflict. The container name "/{container.name}" is already in use by container "{holder[0]}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        self._do(
            """INSERT INTO containers (id, name, state, created_at, json) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state, json = excluded.json""",
            container.id,
            container.name,
            container.state.value,
            container.created_at,
            encode(container).decode(),
        )

    def delete_container(self, container_id: str) -> None:
        """The row becomes a tombstone; leases, ports and the id range go with it.  Gone is success.

        A tombstone has no values of variables: whoever removes a container removes its secrets.
        An endpoint that is still there refuses it (Bug): the record is deleted last, after the disconnect.
        """
        if (container := self.container(container_id)) is not None:
            kept = replace(container, config=replace(container.config, env=names_only(container.config.env)))
            self._do(
                "INSERT INTO tombstones (id, name, removed_at, json) VALUES (?, ?, ?, ?)",
                *(container.id, container.name, self._clock(), encode(kept).decode()),
            )
        self.release_id_range(container_id)
        self._do("DELETE FROM containers WHERE id = ?", container_id)

    def tombstone(self, ref: str) -> Container:
        """A removed container as it was last: by id, name (the latest removed) or unique id prefix.  Raises NotFound."""
        row = (
            self._one("SELECT json FROM tombstones WHERE id = ?", ref)
            or self._one(
                "SELECT json FROM tombstones WHERE name = ? ORDER BY removed_at DESC LIMIT 1", ref.removeprefix("/")
            )
            or self._prefixed("tombstones", ref)
        )
        if row is None:
            raise NotFound(f"No such container: {ref}")
        return _DECODER.decode(row[0])

    def tombstones(self) -> list[Container]:
        """Removed containers that are still readable, latest first."""
        return [_DECODER.decode(j) for j in self._column("SELECT json FROM tombstones ORDER BY removed_at DESC")]

    def prune_tombstones(self, before: int) -> int:
        """Forget what was removed before that time; how many."""
        return self._do("DELETE FROM tombstones WHERE removed_at < ?", before)

    def claim_id_range(self, container_id: ContainerId) -> int:
        """The lowest free slot of ID_RANGE host ids, now the container's; the same one when asked again."""
        held = self._one("SELECT slot FROM id_ranges WHERE container_id = ?", container_id)
        if held:
            return int(held[0])
        (slot,) = self._one(
            """SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM id_ranges WHERE slot = 0) THEN 0
                      ELSE (SELECT MIN(a.slot) + 1 FROM id_ranges a
                            WHERE NOT EXISTS (SELECT 1 FROM id_ranges b WHERE b.slot = a.slot + 1)) END"""
        )
        self._do("INSERT INTO id_ranges (slot, container_id) VALUES (?, ?)", slot, container_id)
        return int(slot)

    def restore_id_range(self, container_id: ContainerId, slot: int) -> None:
        """The slot that a container is known to have.  Raises sqlite3.IntegrityError when another one has it."""
        self._do("INSERT INTO id_ranges (slot, container_id) VALUES (?, ?)", slot, container_id)

    def release_id_range(self, container_id: str) -> None:
        self._do("DELETE FROM id_ranges WHERE container_id = ?", container_id)
