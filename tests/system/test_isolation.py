"""What a container sees and may do by default, from inside and from outside.  docs/security.md has the faults by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab

DOCKERS_14 = 0xA80425FB


def status(lab: Lab, *flags: str) -> dict[str, str]:
    shown = lab.hawse("run", "--rm", *flags, "busybox", "cat", "/proc/self/status").out
    return {key: value.strip() for key, _, value in (line.partition(":") for line in shown.splitlines())}


def test_default_capabilities_and_privileges(lab: Lab) -> None:
    shown = status(lab)
    assert [int(shown[k], 16) for k in ("CapBnd", "CapPrm", "CapEff")] == [DOCKERS_14] * 3
    assert [int(shown[k], 16) for k in ("CapInh", "CapAmb")] == [0, 0], "CVE-2022-24769"
    assert shown["NoNewPrivs"] == "1"
    assert shown["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("flags", "capabilities"),
    [
        (["--cap-drop", "ALL"], 0),
        (["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], 1 << 12),
        (["--cap-add", "CAP_NET_ADMIN"], DOCKERS_14 | 1 << 12),
        (["--cap-drop", "chown"], DOCKERS_14 & ~1),
    ],
)
def test_capabilities_can_be_chosen(lab: Lab, flags: list[str], capabilities: int) -> None:
    assert int(status(lab, *flags)["CapEff"], 16) == capabilities


def test_another_user_has_no_capabilities(lab: Lab) -> None:
    shown = status(lab, "-u", "app")
    assert [int(shown[k], 16) for k in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0] * 4


def test_every_namespace_is_its_own(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "apart", "busybox", "sleep", "100")
    pid = lab.inspect("apart")["State"]["Pid"]
    inside = lab.inside / f"proc/{pid}/ns"
    for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user"):
        assert os.readlink(inside / kind) != os.readlink(lab.inside / f"proc/1/ns/{kind}"), kind
    lab.hawse("rm", "-f", "apart")


def test_root_inside_is_nobody_outside(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.hawse("run", "-d", "--name", name, "busybox", "sleep", "100")
    owners = []
    for name in ("one", "two"):
        told = (lab.inside / f"proc/{lab.inspect(name)['State']['Pid']}/status").read_text()
        owners.append(int(re.search(r"^Uid:\s+(\d+)", told, re.MULTILINE)[1]))  # type: ignore[index]
    assert all(uid >= 65_536 for uid in owners)
    assert abs(owners[0] - owners[1]) >= 65_536, "a range of its own for each"
    assert lab.hawse("exec", "one", "cat", "/proc/self/uid_map").out.split() == ["0", str(owners[0]), "65536"]
    lab.hawse("rm", "-f", "one", "two")


def test_userns_host_opts_out(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "--userns", "host", "busybox", "cat", "/proc/self/uid_map").out
    assert shown.split() == ["0", "0", "4294967295"]


def test_no_descriptor_is_inherited(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "sh", "-c", "ls -l /proc/1/fd; true").out
    assert re.findall(r" (\d+) -> ", shown) == ["0", "1", "2"]


def test_nor_by_an_exec(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "100")
    shown = lab.hawse("exec", "box", "sh", "-c", "ls -l /proc/$$/fd; true").out
    assert re.findall(r" (\d+) -> ", shown) == ["0", "1", "2"]
    lab.hawse("rm", "-f", "box")


def test_a_working_directory_on_a_leaked_descriptor_is_refused(lab: Lab) -> None:
    """CVE-2024-21626: whatever the number, it must not lead outside the root."""
    for number in range(3, 21):
        shown = lab.hawse("run", "--rm", "-w", f"/proc/self/fd/{number}", "busybox", "ls", "..", check=False)
        assert shown.code != 0 or "work" not in shown.out.split(), f"fd {number} leads to the host"


def test_the_daemons_environment_stays_outside(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "sh", "-c", "cat /proc/1/environ | tr '\\0' '\\n'").out
    assert not [line for line in shown.splitlines() if line.startswith(("HAWSE", "LANG", "PYTHON"))]


MASKED = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/acpi",
    "/proc/scsi",
    "/sys/firmware",
]


@pytest.mark.parametrize("path", MASKED)
def test_masked_paths_are_empty(lab: Lab, path: str) -> None:
    script = f"if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then head -c 10 {path}; fi"
    assert lab.hawse("run", "--rm", "busybox", "sh", "-c", script).stdout == b""


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity", "/sys/kernel/x"]
)
def test_read_only_paths(lab: Lab, path: str) -> None:
    assert lab.hawse("run", "--rm", "busybox", "sh", "-c", f"echo b > {path}", check=False).code != 0


def test_dev_is_private_and_small(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "ls", "/dev").out.split()
    wanted = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "pts",
        "ptmx",
        "shm",
        "mqueue",
        "stdin",
        "stdout",
        "stderr",
        "fd",
    }
    assert wanted <= set(shown)
    assert not set(shown) - wanted - {"console", "core"}
    assert lab.hawse("run", "--rm", "busybox", "ls", "/dev/pts").out.split() == ["ptmx"]
    script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c"
    assert lab.hawse("run", "--rm", "busybox", "sh", "-c", script).out.split() == ["3", "3"]


def test_mounting_is_not_allowed(lab: Lab) -> None:
    assert lab.hawse("run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/mnt", check=False).code != 0


def test_a_capability_brings_its_system_calls(lab: Lab) -> None:
    script = "mount -t tmpfs x /mnt && grep -c ' /mnt tmpfs' /proc/mounts"
    done = lab.hawse("run", "--rm", "--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", f"mkdir -p /mnt; {script}")
    assert done.out.split() == ["1"]


def test_the_provided_files_belong_to_root_inside(lab: Lab) -> None:
    script = (
        "stat -c %u /etc/hosts /etc/hostname /etc/resolv.conf; echo 10.0.0.1 more >> /etc/hosts && tail -1 /etc/hosts"
    )
    assert lab.hawse("run", "--rm", "busybox", "sh", "-c", script).out.split() == ["0", "0", "0", "10.0.0.1", "more"]


def test_only_its_own_processes_are_visible(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "sh", "-c", "ls /proc | grep -E '^[0-9]+$' | wc -l").out
    assert int(shown) <= 5


def test_the_cgroup_looks_like_a_root(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "cat", "/proc/self/cgroup").out
    hierarchies = [line.split(":", 2) for line in shown.splitlines()]
    limited = [path for _, controllers, path in hierarchies if "memory" in controllers or "pids" in controllers]
    assert all(path == "/" for path in limited), shown


def test_the_mount_table_shows_only_the_container(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "cat", "/proc/self/mounts").out
    targets = [line.split()[1] for line in shown.splitlines()]
    assert targets.count("/") == 1
    allowed = ("/proc", "/dev", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    assert all(t == "/" or t.startswith(allowed) for t in targets), targets


def test_files_on_the_host_are_closed_to_others(lab: Lab) -> None:
    """CVE-2021-41091: setuid files in layers must not be reachable by users of the host."""
    assert lab.root.stat().st_mode & 0o007 == 0
    socket = lab.inside / "run/hawse/hawse.sock"
    assert socket.stat().st_mode & 0o007 == 0


def test_no_file_of_the_daemon_is_for_others(lab: Lab) -> None:
    """Whoever may open daemon.lock may lock it, and keep every daemon from starting."""
    open_to_others = [
        path
        for top in (lab.root, lab.inside / "run/hawse")
        for path in reachable(top)
        if path.lstat().st_mode & 0o007 and not path.is_dir() and not path.is_symlink()
    ]
    assert open_to_others == []
    for top in (lab.root, lab.inside / "run/hawse"):
        assert (top / "daemon.lock").stat().st_mode & 0o777 == 0o600


def reachable(top: Path) -> Iterator[Path]:
    """What others can get to below `top`, if they get there."""
    if not top.stat().st_mode & 0o001:
        return
    for path in top.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from reachable(path)


def test_shim_sockets_are_paths_for_root_only(lab: Lab) -> None:
    """CVE-2020-15257: nothing abstract, nothing that a container with the host's network can reach."""
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "100")
    bound = [
        line.split()[-1] for line in lab.run(["cat", "/proc/net/unix"]).out.splitlines() if line.split()[-1][0] in "/@"
    ]
    ours = [path for path in bound if "hawse" in path]
    assert ours and not [path for path in bound if path.startswith("@") and "hawse" in path]
    for path in {p for p in ours if not p.endswith("hawse.sock")}:
        mode = (lab.inside / path.lstrip("/")).stat().st_mode
        assert mode & 0o077 == 0, f"{path} {mode:o}"
    lab.hawse("rm", "-f", "box")


def test_an_exec_cannot_be_traced_by_the_container(lab: Lab) -> None:
    """CVE-2016-9962 and CVE-2019-5736: what enters is not dumpable before it has dropped its rights."""
    script = (
        "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do read -r name < $p/comm && [ $name = hawse-exec ] && "
        "{ echo met; readlink $p/exe $p/fd/*; }; done 2>/dev/null; done; echo over"
    )
    lab.hawse("run", "-d", "--name", "spy", "busybox", "sh", "-c", script)
    for _ in range(40):
        lab.hawse("exec", "spy", "true")
    lab.hawse("exec", "-d", "spy", "touch", "/stop")
    lab.hawse("wait", "spy")
    met = lab.hawse("logs", "spy").out.split()
    assert "met" in met, "none was seen, and so nothing was tried"
    assert set(met) == {"met", "over"}
    lab.hawse("rm", "spy")
