"""cgroup v2 as a machine has it: where containers are, limits that bind, what is told of them, devices, block I/O."""

from __future__ import annotations

import pytest

from tests.vm.machine import Machine

UNIT = "/sys/fs/cgroup/system.slice/hawse-containers.service"
GLUTTON = "dd if=/dev/zero of=/dev/null bs=200M count=1"


def shown(machine: Machine, file: str, ref: str = "box") -> str:
    """A control file of a container."""
    return machine.run(f"cat {UNIT}/$(hawse inspect -f '{{{{.Id}}}}' {ref})/{file}").out.strip()


def test_where_an_administrator_looks(machine: Machine) -> None:
    machine.run("hawse run -d --name box busybox sleep 4321")
    for question in ("systemctl status hawse-containers", "systemd-cgls -u hawse-containers.service"):
        assert "sleep 4321" in machine.run(question).out
    assert "sleep 4321" not in machine.run("systemd-cgls -u hawse.service").out
    machine.run("systemctl daemon-reload")
    assert set(machine.run(f"cat {UNIT}/cgroup.subtree_control").out.split()) >= set(
        "cpu cpuset io memory pids".split()
    )


def test_limits_are_the_kernel_s_and_change(machine: Machine) -> None:
    machine.run(
        "hawse run -d --name box -m 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 "
        "--cpuset-cpus 0 --pids-limit 77 --blkio-weight 300 busybox sleep 1000"
    )
    files = "memory.max memory.swap.max memory.low cpu.max cpu.weight cpuset.cpus pids.max".split()
    mb = 1 << 20
    expected = [str(64 * mb), str(32 * mb), str(32 * mb), "50000 100000", "20", "0", "77"]
    assert [shown(machine, name) for name in files] == expected
    assert shown(machine, "io.weight") == "default 2930"
    machine.run("systemctl restart hawse")
    assert [shown(machine, name) for name in files] == expected
    machine.run(
        "hawse update -m 96m --memory-swap 96m --cpus 0.25 --cpuset-cpus 1 --pids-limit 5 --blkio-weight 500 box"
    )
    changed = [str(96 * mb), "0", str(32 * mb), "25000 100000", "20", "1", "5"]
    assert [shown(machine, name) for name in files] == changed
    assert shown(machine, "io.weight") == "default 4950"
    refused = machine.run("hawse exec box sh -c 'for i in 1 2 3 4 5 6; do sleep 9 & done'", check=False)
    assert "can't fork" in refused.out
    assert "/ 96MiB" in machine.run("hawse stats --no-stream --format '{{.MemUsage}}' box").out


def test_half_a_cpu(machine: Machine) -> None:
    machine.run("hawse run -d --name box --cpus 0.2 busybox sh -c 'while :; do :; done'; sleep 3")
    assert int(shown(machine, "cpu.stat").partition("nr_throttled ")[2].split()[0]) > 2


def test_out_of_memory_is_told_at_once(machine: Machine) -> None:
    machine.run("hawse run -d --name box -m 32m --memory-swap 32m busybox sleep 1000")
    assert machine.run(f"hawse exec box {GLUTTON}", check=False).code == 137
    told = "hawse events --no-follow -f type=container.oom -f container=$(hawse inspect -f '{{.Id}}' box) | wc -l"
    machine.run(f"for _ in $(seq 20); do [ $({told}) = 1 ] && exit; sleep 0.2; done; exit 1")
    assert machine.run("hawse inspect -f '{{.State.Running}} {{.State.OOMKilled}}' box").out == "true true\n"
    machine.run(f"systemctl restart hawse; hawse rm -f box; [ $({told.replace('box', 'box 2>/dev/null')}) -le 1 ]")


def test_frozen_and_killed(machine: Machine) -> None:
    machine.run("hawse run -d --name box busybox sh -c 'sleep 1000 & sleep 1000 & wait'")
    machine.run("hawse pause box")
    assert "frozen 1" in shown(machine, "cgroup.events")
    machine.run("hawse unpause box; hawse rm -f box")
    assert machine.run(f"ls -d {UNIT}/*/").out.split() == [f"{UNIT}/init/", f"{UNIT}/shims/"]


@pytest.mark.parametrize(
    ("flags", "opens"),
    [("", False), ("--device-cgroup-rule 'b 254:* r'", True), ("--device /dev/vda:/dev/x:r", True)],
    ids=["none", "rule", "device"],
)
def test_root_of_the_host_opens_what_it_was_given(machine: Machine, flags: str, opens: bool) -> None:
    """With its own mount, so that `nodev` is no hindrance, and mknod."""
    script = "mount -t tmpfs t /tmp; mknod /tmp/d b 254 0; dd if=/tmp/d of=/dev/null bs=512 count=1 && echo read"
    root = (
        "--userns host --cap-add SYS_ADMIN --cap-add MKNOD "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    )
    said = machine.run(f"hawse run --rm {root} {flags} busybox sh -c '{script}'", check=False)
    assert ("read" in said.out.splitlines()) is opens, said
    assert opens or "Operation not permitted" in said.out


def test_block_io(machine: Machine) -> None:
    machine.run("truncate -s 64M /var/tmp/disk; losetup /dev/loop7 /var/tmp/disk")
    try:
        machine.run(
            "hawse run -d --name box --userns host --device /dev/loop7 --device-read-bps /dev/loop7:1mb busybox sleep 1000"
        )
        assert shown(machine, "io.max") == "7:7 rbps=1048576 wbps=max riops=max wiops=max"
        read = "time -p hawse exec box dd if=/dev/loop7 of=/dev/null bs=1M count=5 iflag=direct"
        took = machine.run(read).out.partition("real ")[2].split()[0]
        assert float(took) > 3
        given = machine.run("hawse inspect -f '{{json .HostConfig.BlkioDeviceReadBps}}' box").out
        assert given == '[{"Path":"/dev/loop7","Rate":1048576}]\n'
        unknown = machine.run("hawse run --rm --device-read-bps /dev/none:1mb busybox true", check=False)
        assert unknown.code == 125 and "/dev/none" in unknown.out
    finally:
        machine.run("hawse rm -f box; losetup -d /dev/loop7; rm /var/tmp/disk")
