"""PostgreSQL with its data in a volume, through what happens to a supervisor and to its containers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

TRUST = "local all all trust\nhost all all all trust\n"


@pytest.fixture
def postgres(lab: Lab, debian: Path) -> Iterator[str]:
    """Its cluster is the one that Debian makes, copied into a volume with its owner and modes."""
    hba = lab.share / "pg_hba.conf"
    hba.write_text(TRUST)
    binary = next(debian.glob("usr/lib/postgresql/*/bin/postgres"))
    version = binary.parts[-3]
    lab.hawse("network", "create", "lan")
    lab.hawse(
        *("run", "-d", "--name", "db", "--network", "lan", "-p", "5432:5432", "--stop-signal", "INT"),
        *("-u", "postgres", "-v", "data:/var/lib/postgresql", "-v", f"{hba}:/hba.conf:ro", "--rootfs", debian),
        *("/" + str(binary.relative_to(debian)), "-D", f"/var/lib/postgresql/{version}/main"),
        *("-c", f"config_file=/etc/postgresql/{version}/main/postgresql.conf"),
        *("-c", "hba_file=/hba.conf", "-c", "listen_addresses=*"),
    )
    _ready(lab)
    yield "db"
    lab.hawse("rm", "-f", "db")
    lab.hawse("volume", "rm", "data")
    lab.hawse("network", "rm", "lan")


def _ready(lab: Lab) -> None:
    eventually(lambda: lab.hawse("exec", "-u", "postgres", "db", "pg_isready", check=False).code == 0)


def _ask(lab: Lab, question: str) -> str:
    return lab.hawse("exec", "-u", "postgres", "db", "psql", "-tAc", question).out.strip()


def test_what_it_was_told_outlives_stop_kill_and_its_container(lab: Lab, debian: Path, postgres: str) -> None:
    _ask(lab, "CREATE TABLE sums AS SELECT generate_series(1, 1000) AS x")
    lab.hawse("stop", postgres)
    assert lab.inspect(postgres)["State"]["ExitCode"] == 0
    assert "database system is shut down" in lab.hawse("logs", "--tail", "1", postgres).err
    lab.hawse("start", postgres)
    _ready(lab)
    assert "was not properly shut down" not in lab.hawse("logs", postgres).err
    _ask(lab, "INSERT INTO sums VALUES (1001)")
    lab.hawse("kill", postgres)
    assert lab.inspect(postgres)["State"]["ExitCode"] == 137
    lab.hawse("start", postgres)
    _ready(lab)
    assert "was not properly shut down; automatic recovery in progress" in lab.hawse("logs", postgres).err
    assert _ask(lab, "SELECT sum(x) FROM sums") == str(1001 * 1002 // 2)
    lab.hawse("stop", postgres)
    version = next(debian.glob("usr/lib/postgresql/*")).name
    data = f"/var/lib/postgresql/{version}/main"
    program = f"/usr/lib/postgresql/{version}/bin/postgres"
    found = lab.hawse(
        *("run", "--rm", "-i", "-u", "postgres", "-v", "data:/var/lib/postgresql", "--network", "none"),
        *(
            "--rootfs",
            debian,
            program,
            "--single",
            "-D",
            data,
            "-c",
            f"config_file=/etc/postgresql/{version}/main/postgresql.conf",
        ),
        input="SELECT max(x) FROM sums\n",
    )
    assert 'max = "1001"' in found.out, "another container with the same volume"


def test_a_transaction_goes_on_while_the_supervisor_dies(lab: Lab, debian: Path, postgres: str) -> None:
    """The client is a container too, found by name, and its terminal a command that is attached to it."""
    _ask(lab, "CREATE TABLE letters (word text)")
    session = lab.popen(
        [
            *("hawse", "run", "--rm", "-i", "--network", "lan", "--rootfs", str(debian)),
            *("psql", "-h", "db", "-U", "postgres", "-A"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert session.stdin and session.stdout
    try:
        session.stdin.write(b"BEGIN;\nINSERT INTO letters VALUES ('kept');\n")
        session.stdin.flush()
        assert [session.stdout.readline() for _ in range(2)] == [b"BEGIN\n", b"INSERT 0 1\n"]
        lab.daemon.kill9()
        session.stdin.write(b"INSERT INTO letters VALUES ('while nobody supervised');\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"INSERT 0 1\n"
        assert _reaches(lab), "its published port too"
        lab.daemon.start()
        lab.run(["nft", "flush", "ruleset"])
        out, _ = session.communicate(b"COMMIT;\n", timeout=PATIENCE)
        assert out == b"COMMIT\n" and session.returncode == 0
    finally:
        session.kill()
        session.communicate()
    assert _ask(lab, "SELECT count(*) FROM letters") == "2"
    eventually(lambda: _reaches(lab))


def _reaches(lab: Lab) -> bool:
    return lab.client.reaches(HOST, 5432, timeout=1)
