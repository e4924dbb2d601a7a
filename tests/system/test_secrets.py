"""The values of a container's variables, which hold passwords: who inspects it reads them, and nobody and nothing else."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

SECRET = "correct-horse-battery-staple"
RECORDS = ("containers", "images")


def told(path: Path, *tables: str) -> list[str]:
    """Which of the tables, of all but those of records by default, have it in a row."""
    raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        every = [name for (name,) in raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        wanted = tables or [name for name in every if name not in RECORDS]
        return [name for name in wanted if any(SECRET in str(row) for row in raw.execute(f"SELECT * FROM {name}"))]
    finally:
        raw.close()


def test_a_secret_is_in_the_record_and_nowhere_else(lab: Lab) -> None:
    heard = lab.share / "heard"
    for name in (
        "pre-create.d/50-ask",
        "pre-start.d/50-ask",
        "on-container.started.d/50-hear",
        "on-container.exited.d/50-hear",
    ):
        path = lab.state / "hooks.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{{ env; cat; }} >> {heard}\n")
        path.chmod(0o755)
    eventually(lambda: lab.hawse("hook", "ls").out.count("ready") >= 4)
    lab.hawse("run", "-d", "--name", "keeper", "-e", f"TOKEN={SECRET}", "busybox", "sleep", "1000")
    lab.hawse("exec", "-e", f"OTHER={SECRET}", "keeper", "true")
    assert f"TOKEN={SECRET}" in lab.inspect("keeper")["Config"]["Env"]
    assert f"TOKEN={SECRET}" in lab.hawse("exec", "keeper", "env").out
    lab.hawse("stop", "-t", "0", "keeper")
    eventually(lambda: heard.exists() and heard.read_text().count('"container.exited"') == 1)

    streams = {
        "hooks": heard.read_text(),
        "events": lab.hawse("events", "--since", "0", "--until", "0s", "--format", "json", check=False).out,
        "journal": lab.hawse("journal", "--format", "json", check=False).out,
        "log": lab.daemon.log,
    }
    assert [name for name, text in streams.items() if SECRET in text] == []
    assert '"TOKEN"' in streams["hooks"], "the names are told"
    assert told(lab.root / "hawse.db") == []
    files = {
        path.relative_to(top)
        for top in (lab.root, lab.inside / "run/hawse")
        for path in top.rglob("*")
        if path.is_file() and not path.name.startswith("hawse.db") and SECRET.encode() in path.read_bytes()
    }
    identifier = lab.inspect("keeper")["Id"]
    assert {str(path) for path in files} <= {
        f"records/v1/container/{identifier}.json",
        f"containers/{identifier}/spec.json",
    }

    lab.hawse("rm", "keeper")
    assert told(lab.root / "hawse.db", *RECORDS, "tombstones", "events") == []
    for directory in (lab.state / "hooks.d").iterdir():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    heard.unlink()
    assert json.loads(lab.hawse("hook", "ls", "--format", "json").out) == []
