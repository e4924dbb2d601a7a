"""Where mounts made below a bind mount or a volume are seen: docker's bind propagation, on a host whose / is shared.

That is every host which systemd booted, and so is the lab.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hawse.cli.selftest.lab import Lab

NAMES = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared"]
MOUNTER = ("--cap-add", "SYS_ADMIN")


@contextmanager
def tree(lab: Lab, kind: str = "--make-shared") -> Iterator[str]:
    """A mount of the host with another one in it, at `nested`."""
    top = "/run/tree"
    lab.run(["mkdir", top])
    lab.run(["mount", "-t", "tmpfs", "tree", top])
    lab.run(["mkdir", f"{top}/inside", f"{top}/outside", f"{top}/nested"])
    lab.run(["mount", "-t", "tmpfs", "nested", f"{top}/nested"])
    lab.run(["mkdir", f"{top}/nested/inside", f"{top}/nested/outside"])
    for point in (f"{top}/nested", top):
        lab.run(["mount", kind, point])
    try:
        yield top
    finally:
        lab.run(["umount", "--recursive", top])
        lab.run(["rmdir", top])


def host_mounts(lab: Lab) -> str:
    return lab.run(["cat", "/proc/self/mountinfo"]).out


@pytest.mark.parametrize("user", [(), ("--userns", "host")], ids=["userns", "host"])
@pytest.mark.parametrize("option", NAMES, ids=lambda name: name or "default")
def test_who_sees_whose_mounts(lab: Lab, option: str, user: tuple[str, ...]) -> None:
    """The kernel's own answer, for the mount and one nested in it, both ways."""
    word = option.removeprefix("r")
    with tree(lab) as top:
        lab.hawse(
            "run", "-d", "--name", "app", *MOUNTER, *user, "-v", f"{top}:/t{f':{option}' if option else ''}",
            "busybox", "sleep", "600",
        )  # fmt: skip
        for below in ("", "/nested"):
            heard = word in ("slave", "shared") and (below == "" or option.startswith("r"))
            told = word == "shared" and (below == "" or option.startswith("r"))
            lab.run(["mount", "-t", "tmpfs", "later", f"{top}{below}/outside"])
            seen = lab.hawse("exec", "app", "cat", "/proc/self/mountinfo").out
            assert (f" /t{below}/outside " in seen) is heard
            lab.hawse("exec", "app", "mount", "-t", "tmpfs", "evil", f"/t{below}/inside")
            assert (f" {top}{below}/inside " in host_mounts(lab)) is told
        shown = lab.inspect("app")["Mounts"][0]["Propagation"]
        assert shown == (option or "rprivate")
        lab.hawse("rm", "-f", "app")


def test_read_only_hears_as_well(lab: Lab) -> None:
    with tree(lab) as top:
        lab.hawse("run", "-d", "--name", "app", "-v", f"{top}:/t:ro,rslave", "busybox", "sleep", "600")
        lab.run(["mount", "-t", "tmpfs", "later", f"{top}/outside"])
        assert " /t/outside " in lab.hawse("exec", "app", "cat", "/proc/self/mountinfo").out
        lab.hawse("rm", "-f", "app")


@pytest.mark.parametrize(
    ("kind", "option", "said"),
    [
        ("--make-private", "rshared", "it is not a shared mount"),
        ("--make-slave", "shared", "it is not a shared mount"),
        ("--make-private", "rslave", "it is not a shared or slave mount"),
    ],
)
def test_nobody_to_share_with(lab: Lab, kind: str, option: str, said: str) -> None:
    with tree(lab, kind) as top:
        refused = lab.hawse("run", "--rm", "-v", f"{top}/inside:/t:{option}", "busybox", "true", check=False)
    assert refused.code == 125
    assert f"path {top}/inside is mounted on {top} but {said}" in refused.err


def test_volumes_have_no_propagation(lab: Lab) -> None:
    said = 'invalid mount config for type "volume": field BindOptions must not be specified'
    refused = lab.hawse("create", "-v", "data:/t:rshared", "busybox", "true", check=False)
    assert refused.code == 1 and said in refused.err
    mount = {"Type": "volume", "Source": "data", "Target": "/t", "BindOptions": {"Propagation": "rslave"}}
    body = {"Image": "busybox", "HostConfig": {"Mounts": [mount]}}
    status, answer = lab.daemon.request("POST", "/containers/create", body)
    assert status == 400 and said in json.loads(answer)["message"]


def test_what_a_container_mounts_in_a_volume_goes_with_it(lab: Lab) -> None:
    """Docker in docker: its mounts stayed on the host, and the volume could not be removed any more."""
    before = host_mounts(lab)
    lab.hawse(
        "run", "-d", "--name", "app", "--privileged", "-v", "inner:/var/lib/docker", "busybox",
        "sh", "-c", "mkdir /var/lib/docker/overlay && mount -t tmpfs inner /var/lib/docker/overlay && sleep 600",
    )  # fmt: skip
    lab.hawse("exec", "app", "sh", "-c", "until grep -q inner /proc/mounts; do sleep 0.1; done")
    assert host_mounts(lab) == before
    lab.hawse("rm", "-f", "app")
    lab.hawse("volume", "rm", "inner")
    assert host_mounts(lab) == before


def test_nothing_of_a_container_is_mounted_on_the_host(lab: Lab) -> None:
    """Its root, its devices, /proc and /etc/hosts are copies of the host's mounts or lie on such a copy."""
    before = host_mounts(lab)
    for flags in ((), ("--userns", "host"), ("--privileged",), ("--network", "none"), ("--device", "/dev/zero:/dev/z")):
        lab.hawse("run", "-d", "--name", "app", *flags, "-v", "/var", "--tmpfs", "/scratch", "busybox", "sleep", "600")
        lab.hawse("exec", "app", "true")
        assert host_mounts(lab) == before, flags
        groups = lab.hawse("exec", "app", "cat", "/proc/self/mountinfo").out
        assert "shared:" not in groups and "master:" not in groups, flags
        lab.hawse("rm", "-f", "-v", "app")
