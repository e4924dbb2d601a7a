"""What the journal says about the past: records as they were, and the events that concern a name, an address, a port."""

from __future__ import annotations

from hawse.supervisor.core.stored import Stored
from hawse.supervisor.store.eventrows import RAW_COLUMNS
from hawse.supervisor.store.session import Session

_OF_CONTAINERS = "(type GLOB 'container.*' OR type IN ('network.connected', 'network.disconnected'))"
_CABLES = "('network.connected', 'network.published', 'network.disconnected')"


class PastRows(Session):
    def time_of(self, seq: int) -> int | None:
        """When an event was written; None when it is not kept."""
        row = self._one("SELECT time FROM events WHERE seq = ?", seq)
        return int(row[0]) if row else None

    def seq_until(self, time: int) -> int:
        """The newest event that is not later than `time`, as the clock was when it was written; 0 before the first."""
        row = self._one("SELECT seq FROM events WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT 1", time)
        return int(row[0]) if row else 0

    def last_of_containers(self, upto: int) -> list[Stored]:
        """The newest event at or before that seq of every container that had one."""
        return self._stored(
            f"""SELECT {RAW_COLUMNS} FROM events WHERE seq IN (
                    SELECT MAX(seq) FROM events WHERE seq <= ? AND subject BETWEEN 'container/' AND 'container0'
                        AND {_OF_CONTAINERS} GROUP BY subject) ORDER BY seq""",
            upto,
        )

    def first_of_container(self, container_id: str, after: int) -> Stored | None:
        """The first event of a container after that seq: what it changed says what was before."""
        found = self._stored(
            f"""SELECT {RAW_COLUMNS} FROM events WHERE subject = ? AND seq > ? AND {_OF_CONTAINERS}
                ORDER BY seq LIMIT 1""",
            f"container/{container_id}",
            after,
        )
        return found[0] if found else None

    def cables_of(self, container_id: str, upto: int) -> list[Stored]:
        """Return its connections and disconnections up to that seq, and where its ports went in between, in order."""
        return self._stored(
            f"SELECT {RAW_COLUMNS} FROM events WHERE subject = ? AND seq <= ? AND type IN {_CABLES} ORDER BY seq",
            f"container/{container_id}",
            upto,
        )

    def containers_called(self, ref: str) -> list[str]:
        """Ids of all that have, or had, this name or an id that begins with it; kept records and tombstones."""
        plain = ref.removeprefix("/")
        found = self._column(
            """SELECT id FROM containers WHERE name = ? OR id BETWEEN ? AND ? || 'g'
               UNION SELECT id FROM tombstones WHERE name = ? OR id BETWEEN ? AND ? || 'g'
               UNION SELECT substr(subject, 11) FROM events
                     WHERE type = 'container.renamed' AND json_extract(json, '$.old_name') = ?""",
            *[plain] * 7,
        )
        return [str(container_id) for container_id in found]

    def story_of(self, subjects: list[str], limit: int) -> list[Stored]:
        """The newest events of these subjects, oldest first."""
        marks = ", ".join("?" * len(subjects))
        return self._newest(f"subject IN ({marks})", *subjects, limit=limit)

    def story_of_address(self, address: str, limit: int) -> list[Stored]:
        """Return who was plugged in with this address, and out."""
        return self._newest(f"type IN {_CABLES} AND json_extract(json, '$.endpoint.address') = ?", address, limit=limit)

    def story_of_port(self, port: int, proto: str, limit: int) -> list[Stored]:
        """Return who published this port of the host, and until when; any protocol when `proto` is ""."""
        return self._newest(
            f"""type IN {_CABLES} AND EXISTS (SELECT 1 FROM json_each(events.json, '$.endpoint.ports')
                    WHERE json_extract(value, '$.host_port') = ? AND ? IN ('', json_extract(value, '$.proto')))""",
            port,
            proto,
            limit=limit,
        )

    def _newest(self, where: str, *parameters: object, limit: int) -> list[Stored]:
        return self._stored(
            f"SELECT {RAW_COLUMNS} FROM events WHERE {where} ORDER BY seq DESC LIMIT ?", *parameters, limit
        )[::-1]

    def _stored(self, sql: str, *parameters: object) -> list[Stored]:
        return list(map(Stored._make, self._all(sql, *parameters)))
