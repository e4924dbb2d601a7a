"""--log-driver journald beside the real journald: docker's fields, and a journald that stands still holds nobody up."""

from __future__ import annotations

import json

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(600)

LIMIT = "/run/systemd/journald.conf.d/test.conf"


def journal(machine: Machine, name: str) -> list[dict[str, str]]:
    machine.run("journalctl --sync")
    shown = machine.run(f"journalctl --output json --all CONTAINER_NAME={name}").out
    return [json.loads(line) for line in shown.splitlines()]


def test_entries_have_dockers_fields(machine: Machine) -> None:
    machine.run(
        "hawse run --name talks --log-driver journald --log-opt tag='{{.Name}}' --log-opt labels=role --label role=db "
        "busybox sh -c 'echo one; sleep 1; echo two >&2; sleep 1; printf three'"
    )
    entries = journal(machine, "talks")
    assert [(e["MESSAGE"], e["PRIORITY"]) for e in entries] == [("one", "6"), ("two", "3"), ("three", "6")]
    container = machine.run("hawse inspect -f '{{.Id}}' talks").out.strip()
    for entry in entries:
        assert (entry["CONTAINER_ID_FULL"], entry["CONTAINER_ID"]) == (container, container[:12])
        assert (entry["CONTAINER_TAG"], entry["SYSLOG_IDENTIFIER"], entry["ROLE"]) == ("talks", "talks", "db")
        assert (entry["IMAGE_NAME"], entry["_SYSTEMD_UNIT"]) == ("busybox", "hawse-containers.service")
    assert [entry.get("CONTAINER_PARTIAL_MESSAGE") for entry in entries] == [None, None, "true"]
    assert machine.run("hawse logs talks 2>&1 | sort").out.split() == ["one", "three", "two"]


def test_a_journald_that_stands_still_holds_nobody_up(machine: Machine) -> None:
    """The program ends, `logs` has all of it, and the journal tells the gap."""
    # journald's own limit on how much one unit may say in a while would hide what is tried here
    machine.run(f"mkdir -p $(dirname {LIMIT}); printf '[Journal]\\nRateLimitBurst=0\\n' >{LIMIT}")
    machine.run("systemctl restart systemd-journald; systemctl kill --signal STOP systemd-journald")
    try:
        machine.run("timeout 60 hawse run --name loud --log-driver journald busybox seq 5000 | tail -1")
        machine.run("hawse run -d --name goes-on --log-driver journald busybox sh -c 'seq 5000; sleep 20; echo end'")
    finally:
        machine.run(f"systemctl kill --signal CONT systemd-journald; rm {LIMIT}")
    assert machine.run("hawse logs loud | wc -l").out == "5000\n"
    machine.run("hawse wait goes-on")
    told = [entry["MESSAGE"] for entry in journal(machine, "goes-on")]
    assert told[-1] == "end" and "lines are missing here: journald did not take them" in told[-2]
    machine.run("systemctl restart systemd-journald")
