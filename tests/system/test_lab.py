"""The lab's own promises: it is apart from the machine, and its leak check finds every kind of leak."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import CLIENT, HOST, INTERNET, REPOSITORY, UPLINK, Lab
from hawse.cli.selftest.waiting import PATIENCE


def test_the_lab_shares_no_namespace_with_the_machine(bare_lab: Lab) -> None:
    for kind in ("mnt", "net", "pid", "uts", "ipc"):
        theirs = bare_lab.run(["readlink", f"/proc/self/ns/{kind}"]).out.strip()
        assert theirs != os.readlink(f"/proc/self/ns/{kind}")


def test_machines_reach_each_other_only_as_drawn(bare_lab: Lab) -> None:
    with bare_lab.client.listen(80), bare_lab.internet.listen(80):
        assert bare_lab.host.reaches(CLIENT, 80, timeout=PATIENCE)
        assert bare_lab.host.reaches(INTERNET, 80, timeout=PATIENCE)
        assert not bare_lab.client.reaches(INTERNET, 80, timeout=0.3), "the host must not forward by itself"


def test_the_peer_address_tells_who_connects(bare_lab: Lab) -> None:
    with bare_lab.internet.listen(80) as listener, bare_lab.host.connect(INTERNET, 80, timeout=PATIENCE):
        connection, peer = listener.accept()
        connection.close()
        assert peer[0] == UPLINK
    with bare_lab.host.listen(80) as listener, bare_lab.client.connect(HOST, 80, timeout=PATIENCE):
        connection, peer = listener.accept()
        connection.close()
        assert peer[0] == CLIENT


LEAKS = {
    "link": "ip link add left type bridge",
    "address": "ip addr add 10.77.0.1/32 dev lo",
    "route": "ip route add blackhole 10.77.0.0/16",
    "nft": "nft add table inet left",
    "nft element": "nft add element inet planted s '{ 10.0.0.1 }'",
    "mount": "mkdir -p /run/left && mount -t tmpfs left /run/left",
    "cgroup": "mkdir -p /sys/fs/cgroup/memory/hawse_$HAWSE_INSTANCE/left || mkdir -p /sys/fs/cgroup/hawse_$HAWSE_INSTANCE/left",
    "process": "sleep 60 >/dev/null 2>&1 &",
    "file": "touch /run/left",
    "file in the state directory": "mkdir -p $HAWSE_ROOT/containers && touch $HAWSE_ROOT/containers/left",
}


def test_what_nobody_waited_for_does_not_keep_it() -> None:
    """A failed test leaves it so.  A pid namespace ends when its last process is reaped, by whoever started it."""
    lab = Lab()
    left = lab.popen(["sleep", "1000"])
    lab.close()
    assert left.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", LEAKS)
def test_the_leak_check_finds_a_planted_leak(bare_lab: Lab, kind: str) -> None:
    bare_lab.run(["nft", "add table inet planted; add set inet planted s { type ipv4_addr; }"])
    before = bare_lab.settled()
    assert bare_lab.leaks(before, timeout=0) == []
    bare_lab.run(["sh", "-c", LEAKS[kind]])
    leaks = bare_lab.leaks(before, timeout=0.1)
    assert any(line.startswith(f"+ {kind.split()[0]} ") for line in leaks), leaks


def test_the_leak_check_finds_a_loss(bare_lab: Lab) -> None:
    before = bare_lab.settled()
    bare_lab.run(["ip", "route", "del", "default"])
    assert any(line.startswith("- route ") for line in bare_lab.leaks(before, timeout=0.1))


def test_a_terminal_inside_has_its_size_and_exit_code(bare_lab: Lab) -> None:
    with bare_lab.pty(["sh"]) as terminal:
        terminal.type("stty size\n")
        terminal.expect("24 80")
        terminal.type("exit 3\n")
        assert terminal.wait() == 3


def test_a_lab_ends_though_a_container_in_it_is_paused() -> None:
    with Lab() as lab:
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        lab.hawse("run", "-d", "--name", "still", "--network", "none", "busybox", "sleep", "1000")
        lab.hawse("pause", "still")
    assert not lab.state.exists()


def test_everything_dies_with_the_process_that_made_the_lab() -> None:
    """Also when that is killed: nobody is left to clean up, so the kernel must."""
    program = """
from hawse.cli.selftest.lab import Lab
lab = Lab()
lab.popen(["sleep", "60"])
print(lab.pid, lab.instance, flush=True)
input()
"""
    maker = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdin is not None and maker.stdout is not None
    with maker.stdin, maker.stdout:
        pid, instance = maker.stdout.readline().split()
        holder = os.pidfd_open(int(pid))
        labs = REPOSITORY / ".cache/labs"
        left = labs / instance
        with (labs / ".lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # another test run's lab would sweep it as well
            maker.send_signal(signal.SIGKILL)
            maker.wait()
            try:
                assert select.select([holder], [], [], PATIENCE)[0], "the lab outlived its maker"
            finally:
                os.close(holder)
            assert left.exists()
    Lab().close()
    assert not left.exists(), "the next lab sweeps what a killed one left"
