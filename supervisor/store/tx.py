"""Tx: everything that can be read and changed in one transaction.

The groups of rows are in files of their own; this one only joins them.  Methods are sync: they run in SQLite's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from hawse.supervisor.store.containers import ContainerRows
from hawse.supervisor.store.deliveries import DeliveryRows
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.eventrows import EventRows
from hawse.supervisor.store.hooks import HookRows
from hawse.supervisor.store.images import ImageRows
from hawse.supervisor.store.networks import NetworkRows
from hawse.supervisor.store.past import PastRows
from hawse.supervisor.store.subscriptions import SubscriptionRows


class Tx(ContainerRows, NetworkRows, ImageRows, EventRows, DeliveryRows, SubscriptionRows, PastRows, HookRows):
    """One transaction.  In `Store.read` the changing methods fail; in `Store.transact` all or nothing happens."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], int], epochs: Epochs, cause: str = ""
    ) -> None:
        super().__init__(connection, clock, epochs, cause)
        self.appended = []

    def meta(self, key: str) -> str:
        """A remembered value of the whole installation; "" when it was never set."""
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return str(row[0]) if row else ""

    def put_meta(self, key: str, value: str) -> None:
        self._do("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", key, value)
