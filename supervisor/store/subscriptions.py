"""Rows of subscriptions: named readers outside the daemon, and how far each has acknowledged."""

from __future__ import annotations

from hawse.supervisor.core.errors import Conflict, NotFound
from hawse.supervisor.core.model import Record, decoder, encode
from hawse.supervisor.store.session import Session, near


class Subscription(Record, frozen=True, kw_only=True):
    """Everything up to `cursor` is acknowledged (or was not wanted), and beyond it what is in `acked`."""

    name: str
    cursor: str
    created_at: int
    filters: tuple[str, ...] = ()
    ack_seconds: float = 30.0  # after which what was delivered and not acknowledged is delivered again
    paused: bool = False
    acked: tuple[int, ...] = ()
    lost: int = 0  # events that were pruned before they were delivered


_DECODER = decoder(Subscription)


class SubscriptionRows(Session):
    def subscription(self, name: str) -> Subscription:
        """Raises NotFound."""
        row = self._one("SELECT json FROM subscriptions WHERE name = ?", name)
        if row is None:
            raise NotFound(
                f"No such subscription: {name}", hint=near(name, self._column("SELECT name FROM subscriptions"))
            )
        return _DECODER.decode(row[0])

    def subscriptions(self) -> list[Subscription]:
        """All of them, by name."""
        return [_DECODER.decode(j) for j in self._column("SELECT json FROM subscriptions ORDER BY name")]

    def add_subscription(self, subscription: Subscription) -> None:
        """Raises Conflict when the name is taken."""
        if self._one("SELECT 1 FROM subscriptions WHERE name = ?", subscription.name):
            raise Conflict(f"there already is a subscription named {subscription.name}")
        self._do("INSERT INTO subscriptions VALUES (?, ?)", subscription.name, encode(subscription).decode())

    def put_subscription(self, subscription: Subscription) -> None:
        """Only of one that is there: a late acknowledgement does not bring back what was removed."""
        self._do("UPDATE subscriptions SET json = ? WHERE name = ?", encode(subscription).decode(), subscription.name)

    def delete_subscription(self, name: str) -> None:
        """Raises NotFound."""
        if not self._do("DELETE FROM subscriptions WHERE name = ?", name):
            self.subscription(name)
