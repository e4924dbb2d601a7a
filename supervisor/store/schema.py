"""The database's tables, as a list of migrations: entry N leads from `user_version` N to N + 1.

Entries are only ever appended; a released one never changes.  Records live in `json` (model.encode); a column exists only
where SQLite must guard uniqueness, follow a reference or find a row.
"""

from __future__ import annotations

import sqlite3
import uuid

import msgspec

from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.core.events import names_only
from hawse.supervisor.core.wishfields import renewed

MIGRATIONS = (
    """
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE containers (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL UNIQUE,
        state      TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        json       TEXT NOT NULL
    ) STRICT;

    -- Removed containers, readable for the retention time; a name may be here many times.
    CREATE TABLE tombstones (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL,
        removed_at INTEGER NOT NULL,
        json       TEXT NOT NULL
    ) STRICT;
    CREATE INDEX tombstones_name ON tombstones (name, removed_at);
    CREATE INDEX tombstones_age ON tombstones (removed_at);

    -- One slot is ID_RANGE host ids.  It is claimed before the container's row is written (the row holds the first id),
    -- hence no reference; delete_container frees it.
    CREATE TABLE id_ranges (
        slot         INTEGER PRIMARY KEY,
        container_id TEXT NOT NULL UNIQUE
    ) STRICT;

    CREATE TABLE networks (
        name       TEXT PRIMARY KEY,
        id         TEXT NOT NULL UNIQUE,
        bridge     TEXT UNIQUE,
        last_lease TEXT,
        json       TEXT NOT NULL
    ) STRICT;

    -- A lease lives from create to remove.  It goes with its container or its network; an endpoint holds both of them.
    CREATE TABLE leases (
        network      TEXT NOT NULL REFERENCES networks (name) ON DELETE CASCADE,
        address      TEXT NOT NULL,
        container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
        PRIMARY KEY (network, address),
        UNIQUE (container_id, network)
    ) STRICT, WITHOUT ROWID;

    -- A plugged cable.  RESTRICT: a record is deleted last, after the disconnect.
    CREATE TABLE endpoints (
        container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE RESTRICT,
        network      TEXT NOT NULL REFERENCES networks (name) ON DELETE RESTRICT,
        veth         TEXT UNIQUE,
        json         TEXT NOT NULL,
        PRIMARY KEY (container_id, network)
    ) STRICT;
    CREATE INDEX endpoints_network ON endpoints (network);

    -- host_ip 0.0.0.0 is every address of the host; that it excludes every other of the same port is reserve_ports' rule.
    CREATE TABLE ports (
        proto          TEXT NOT NULL,
        host_port      INTEGER NOT NULL CHECK (host_port BETWEEN 1 AND 65535),
        host_ip        TEXT NOT NULL,
        container_port INTEGER NOT NULL,
        container_id   TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
        PRIMARY KEY (proto, host_port, host_ip)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ports_container ON ports (container_id);

    CREATE TABLE images (
        id         TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        json       TEXT NOT NULL
    ) STRICT;
    CREATE TABLE image_tags (
        tag      TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX image_tags_image ON image_tags (image_id);
    CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        layer    TEXT NOT NULL,
        PRIMARY KEY (image_id, layer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX image_layers_layer ON image_layers (layer);

    CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        json TEXT NOT NULL
    ) STRICT;

    -- seq is gapless: it is the rowid, the newest row is never pruned, and a rolled back insert takes nothing.
    -- total is the bytes of all events up to this one, so that the journal's size is the difference of two rows.
    CREATE TABLE events (
        seq     INTEGER PRIMARY KEY,
        time    INTEGER NOT NULL,
        total   INTEGER NOT NULL,
        type    TEXT NOT NULL,
        subject TEXT NOT NULL,
        cause   TEXT NOT NULL,
        json    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_time ON events (time);
    CREATE INDEX events_subject ON events (subject);

    -- An epoch's events begin at first_seq and end before the next one's.
    CREATE TABLE epochs (
        first_seq INTEGER PRIMARY KEY,
        epoch     TEXT NOT NULL UNIQUE
    ) STRICT;

    -- Durable readers: everything up to cursor is done, or stands in deliveries.
    CREATE TABLE handlers (
        name   TEXT PRIMARY KEY,
        cursor INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deliveries (
        handler  TEXT NOT NULL REFERENCES handlers (name) ON DELETE CASCADE,
        seq      INTEGER NOT NULL,
        subject  TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_at  INTEGER NOT NULL,
        error    TEXT NOT NULL,
        dead     INTEGER NOT NULL CHECK (dead IN (0, 1)),
        PRIMARY KEY (handler, seq)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- Readers outside the daemon; unlike handlers they do not hold back pruning.
    CREATE TABLE subscriptions (
        name TEXT PRIMARY KEY,
        json TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE hook_runs (
        id         INTEGER PRIMARY KEY,
        hook       TEXT NOT NULL,
        seq        INTEGER NOT NULL,
        event      TEXT NOT NULL,
        subject    TEXT NOT NULL,
        attempt    INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at   INTEGER NOT NULL DEFAULT 0,
        outcome    TEXT NOT NULL DEFAULT '',
        code       INTEGER,
        output     TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX hook_runs_event ON hook_runs (hook, seq);
    CREATE TABLE disabled_hooks (
        hook TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- One wish in the place of five fields.  Events stay as they were written: decode_fact reads both.
    UPDATE containers SET json = renewed(json);
    UPDATE tombstones SET json = renewed(json);
    """,
    """
    -- Values of the environment are in no event and no tombstone any more.
    UPDATE tombstones SET json = names_only(json, '');
    UPDATE events SET json = names_only(json, 'container') WHERE subject BETWEEN 'container/' AND 'container0';
    UPDATE events SET json = names_only(json, 'image') WHERE subject BETWEEN 'image/' AND 'image0';
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to the newest version, all steps in one transaction.

    Raises Unavailable when the database was written by a newer hawse.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise Unavailable(
            f"the state database has version {version}; this hawse knows versions up to {len(MIGRATIONS)}",
            hint="install the newer hawse again",
        )
    if version == len(MIGRATIONS):
        return
    connection.create_function("renewed", 1, renewed, deterministic=True)
    connection.create_function("names_only", 2, _names_only, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version:]:
            for statement in statements(script):
                connection.execute(statement)
        if version == 0:
            connection.execute("INSERT INTO epochs VALUES (1, ?)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _names_only(text: str, part: str) -> str:
    """A row for the migration; `part` is which part of it has the configuration, "" for the row itself."""
    row = msgspec.json.decode(text)
    config = (row.get(part, {}) if part else row).get("config", {})
    if not config.get("env"):
        return text
    config["env"] = names_only(config["env"])
    return msgspec.json.encode(row).decode()


def statements(script: str) -> list[str]:
    """The script's statements, of which each ends its line; sqlite3's executescript would commit our transaction."""
    found, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
