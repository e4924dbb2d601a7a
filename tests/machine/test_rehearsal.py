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
    before = machine.run("sysctl -n user.max_user_namespaces").out.strip()
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
        machine.run(f"sysctl -qw user.max_user_namespaces={before}")
    machine.run("hawse selftest quick && hawse run --rm busybox true")


def test_no_nftables(machine: Machine) -> None:
    """A module that the rules need cannot be loaded."""
    machine.run("systemctl stop hawse.socket hawse; nft flush ruleset; modprobe -r nft_fib_inet")
    machine.run("echo 'install nft_fib_inet /bin/false' >/etc/modprobe.d/trial.conf; systemctl start hawse.socket")
    try:
        told = machine.run(FAILS.format("nftables"), check=False)
        assert told.code == 1 and "modprobe nf_tables" in told.out, told
    finally:
        machine.run("rm /etc/modprobe.d/trial.conf; systemctl restart hawse.socket hawse")
    machine.run("hawse selftest quick")


def test_no_bpf(machine: Machine) -> None:
    """cgroup v2 restricts devices by it; what needs no restriction still starts."""
    machine.run(
        "mkdir -p /run/systemd/system/hawse.service.d; printf '[Service]\\nSystemCallFilter=~bpf\\n"
        "SystemCallErrorNumber=EPERM\\n' >/run/systemd/system/hawse.service.d/trial.conf; systemctl daemon-reload; "
        "systemctl restart hawse"
    )
    try:
        told = machine.run(FAILS.format("cgroup"), check=False)
        assert told.code == 1 and "bpf (device rules)" in told.out and "CAP_BPF" in told.out, told
        refused = machine.run("hawse run --rm busybox true", check=False)
        assert refused.code == 125 and "bpf (device rules)" in refused.out and "EPERM" in refused.out, refused
        assert machine.run("hawse run --rm --privileged busybox echo works").out == "works\n"
    finally:
        machine.run("rm -r /run/systemd/system/hawse.service.d; systemctl daemon-reload; systemctl restart hawse")
    machine.run("hawse selftest quick")
