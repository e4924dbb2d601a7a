"""Machines on which nothing can start say so before the first run, with the step and the remedy."""

from __future__ import annotations

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(600)

FAILS = "hawse selftest quick | grep -A3 '{}: FAILED'; exit ${{PIPESTATUS[0]}}"


def test_a_machine_as_it_is_installed(machine: Machine) -> None:
    tried = machine.run("hawse selftest quick").out
    assert "Containers can run here." in tried and "FAILED" not in tried


def test_no_user_namespaces(machine: Machine) -> None:
    """Said in the journal at the daemon's start; what then still works is tried as well."""
    machine.run("sysctl -qw user.max_user_namespaces=0")
    try:
        machine.run("systemctl restart hawse")
        machine.run(
            "for _ in $(seq 60); do journalctl -u hawse -b | grep -q cannot_run && exit; sleep 0.5; done; exit 1"
        )
        told = machine.run(FAILS.format("namespaces and user ids"), check=False)
        assert told.code == 1 and "sysctl -w user.max_user_namespaces=15000 (it is 0)" in told.out
        assert "a start with --userns host: ok" in machine.run("hawse selftest quick", check=False).out
        assert machine.run("hawse run --rm --userns host busybox echo works").out == "works\n"
    finally:
        machine.run("sysctl -qw user.max_user_namespaces=15000")
    machine.run("hawse selftest quick && hawse run --rm busybox true")


def test_no_nftables(machine: Machine) -> None:
    machine.run(
        "hawse network prune -f; hawse network rm bridge; nft flush ruleset; systemctl stop hawse.socket hawse",
        check=False,
    )
    machine.run("echo 'install nf_tables /bin/false' >/etc/modprobe.d/trial.conf")
    try:
        machine.run(
            'lsmod | awk \'/^nf_tables/ {gsub(",", " ", $4); print $4}\' | xargs -r modprobe -r -a; modprobe -r nf_tables'
        )
        machine.run("systemctl start hawse.socket hawse || true")
        told = machine.run("hawse selftest quick 2>&1; journalctl -u hawse -n 5 -o cat", check=False).out
        assert "nftables" in told and "modprobe" in told, told
    finally:
        machine.run("rm /etc/modprobe.d/trial.conf; modprobe nf_tables; systemctl start hawse.socket hawse")
    machine.run("hawse selftest quick")
