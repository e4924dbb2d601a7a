"""Rows of durable handlers: how far each has come, and the events that it could not yet, or never, deal with."""

from __future__ import annotations

from dataclasses import dataclass

from hawse.supervisor.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event parked for a handler: failed and to be tried again, waiting behind such a one, or dead."""

    handler: str
    seq: int
    subject: str
    attempts: int = 0
    next_at: int = 0  # ns since the epoch; of a dead one, when it was given up
    error: str = ""  # of the last attempt
    dead: bool = False


class DeliveryRows(Session):
    def handler_cursors(self) -> dict[str, int]:
        """Handler → the seq up to which everything is done or stands in `deliveries`."""
        return dict(self._all("SELECT name, cursor FROM handlers"))

    def put_handler_cursor(self, name: str, seq: int) -> None:
        """Register a handler, or move its cursor."""
        self._do(
            "INSERT INTO handlers (name, cursor) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
            name,
            seq,
        )

    def delete_handler(self, name: str) -> None:
        """Delete it; its deliveries go with it; gone is success."""
        self._do("DELETE FROM handlers WHERE name = ?", name)

    def deliveries(self, handler: str | None = None, *, dead: bool | None = None) -> list[Delivery]:
        """In order of events."""
        rows = self._select(
            "handler, seq, subject, attempts, next_at, error, dead FROM deliveries",
            "ORDER BY seq, handler",
            handler=handler,
            dead=None if dead is None else int(dead),
        )
        return [
            Delivery(handler=h, seq=seq, subject=s, attempts=n, next_at=at, error=error, dead=bool(d))
            for h, seq, s, n, at, error, d in rows
        ]

    def put_delivery(self, delivery: Delivery) -> None:
        """Keep one row per handler and event: what an earlier one says is replaced."""
        self._insert_delivery("REPLACE", delivery)

    def add_delivery(self, delivery: Delivery) -> None:
        """The same, but an earlier row stays as it is."""
        self._insert_delivery("IGNORE", delivery)

    def _insert_delivery(self, otherwise: str, delivery: Delivery) -> None:
        self._do(
            f"""INSERT OR {otherwise} INTO deliveries (handler, seq, subject, attempts, next_at, error, dead)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            delivery.handler,
            delivery.seq,
            delivery.subject,
            delivery.attempts,
            delivery.next_at,
            delivery.error,
            int(delivery.dead),
        )

    def delete_delivery(self, handler: str, seq: int) -> None:
        """Gone is success."""
        self._do("DELETE FROM deliveries WHERE handler = ? AND seq = ?", handler, seq)
