"""What is said to whoever's machine cannot start a container."""

from __future__ import annotations

import pytest

from hawse.supervisor.lifecycle.remedies import remedy

LIMITS = {"max_user_namespaces": 0, "max_net_namespaces": 7000}


@pytest.mark.parametrize(
    ("stage", "message", "words"),
    [
        ("namespaces", "clone3: No space left on device", "sysctl -w user.max_user_namespaces=15000 (it is 0)"),
        ("namespaces", "clone3: Operation not permitted", "all capabilities"),
        ("mounts", "/x: its file system does not support id-mapped mounts", "--userns host"),
        ("mounts", "fsopen overlay: No such device", "modprobe overlay"),
        ("mounts", "mount overlay: Invalid argument (overlay: filesystem not supported as upperdir)", "ext4"),
        ("cgroup", "cgroup /sys/fs/cgroup/hawse: Read-only file system (EROFS)", "mount -t cgroup2"),
        ("cgroup", "bpf (device rules): Operation not permitted", "CAP_BPF"),
        ("exec", "install the seccomp filter: Invalid argument", "CONFIG_SECCOMP_FILTER"),
        ("exec", 'exec: "/program": permission denied: unknown', ""),
    ],
)
def test_the_remedy_belongs_to_stage_and_message(stage: str, message: str, words: str) -> None:
    told = remedy(stage, message, LIMITS)
    assert words in told and bool(told) == bool(words)
