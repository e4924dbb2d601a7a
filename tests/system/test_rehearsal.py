"""The daemon tries whether containers can run here: what it says on a machine where they can, and where they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


def steps(lab: Lab) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in json.loads(lab.hawse("info", "-f", "{{json .Hawse.features}}").out)}


def quick(lab: Lab, *, code: int) -> str:
    tried = lab.hawse("selftest", "quick", check=False)
    assert tried.code == code, tried
    return tried.out


def test_where_containers_run_every_needed_step_is_ok(lab: Lab) -> None:
    found = steps(lab)
    assert all(step["found"] for step in found.values() if step["needed"]), found
    assert {"cgroup", "namespaces and user ids", "root and mounts", "seccomp and capabilities"} <= found.keys()
    assert {
        "bridge and cable",
        "nftables",
        "nftables owner and persist",
        "cgroup limits",
        "state directory",
    } <= found.keys()
    assert "Containers can run here." in quick(lab, code=0)


def test_nothing_is_left_of_it_and_nobody_is_told(lab: Lab) -> None:
    before, cursor = lab.settled(), lab.hawse("info", "-f", "{{.Hawse.cursor}}").out
    for _ in range(3):
        quick(lab, code=0)
    assert not lab.leaks(before)
    assert lab.hawse("info", "-f", "{{.Hawse.cursor}}").out == cursor
    assert not lab.hawse("audit").out.count("trial")


def test_one_that_a_killed_daemon_left_is_gone_with_the_next(lab: Lab) -> None:
    """Its spawner, shim and init go with the daemon; files and cgroup are looked for by the next."""
    before = lab.settled()
    for _ in range(5):
        lab.daemon.kill9()  # somewhere in the first one of a daemon that has just begun
        lab.daemon.start()
    steps(lab)
    assert not lab.leaks(before)


def test_a_state_directory_that_overlay_does_not_take(bare_lab: Lab) -> None:
    """It says so in the log before the first run, in info, in the docker client's warnings, and in the self test."""
    lower = bare_lab.state / "lower"
    script = f"mkdir -p {lower} /run/up /run/wk {bare_lab.root}; "
    script += f"mount -t overlay -o lowerdir={lower},upperdir=/run/up,workdir=/run/wk none {bare_lab.root}"
    bare_lab.run(["sh", "-c", script])
    bare_lab.daemon.start()
    eventually(lambda: "cannot_run_containers" in bare_lab.daemon.log)
    found = steps(bare_lab)
    assert found["namespaces and user ids"]["found"]
    failed = found["root and mounts"]
    assert not failed["found"] and "id-mapped mounts" in failed["detail"] and "ext4" in failed["remedy"]
    assert "bridge and cable" not in found, "not reached"
    either = found["a start with --userns host"]
    assert not either["found"] and "overlay" in either["detail"] and "ext4" in either["remedy"]
    assert "root and mounts" in bare_lab.hawse("info", "-f", "{{json .Warnings}}").out
    assert "root and mounts: FAILED" in quick(bare_lab, code=1)


def test_no_cgroups(bare_lab: Lab) -> None:
    bare_lab.run(["mount", "-t", "tmpfs", "-o", "ro", "none", "/sys/fs/cgroup"])
    bare_lab.daemon.start()
    failed = steps(bare_lab)["cgroup"]
    assert not failed["found"] and "/sys/fs/cgroup" in failed["detail"] and "mount -t cgroup2" in failed["remedy"]
    assert "cgroup: FAILED" in quick(bare_lab, code=1)


@pytest.mark.parametrize(
    ("library", "package"), [("libseccomp.so.2", "libseccomp2"), ("libnftables.so.1", "libnftables1")]
)
def test_a_library_that_is_missing_is_named_by_whoever_starts_the_daemon(
    bare_lab: Lab, library: str, package: str
) -> None:
    bare_lab.run(["sh", "-c", f"for f in $(ldconfig -p | grep -o '/.*{library}'); do mount --bind /dev/null $f; done"])
    refused = bare_lab.hawse("selftest", "quick", check=False, env={"HAWSE_AUTOSTART": "1"})
    assert refused.code == 1 and package in refused.err
