"""What to do when a start fails for want of something that the machine should have: from the failure to a sentence.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ANY = re.compile("")
_FILE_SYSTEMS = "choose a --root on ext4, xfs or btrfs"
_REMEDIES = (
    # (stage, words of the failure, remedy)
    ("namespaces", re.compile(r"clone3.*No space left", re.DOTALL), "{limit}"),
    (
        "namespaces",
        re.compile(r"Operation not permitted"),
        "run the daemon as root of the machine, with all capabilities",
    ),
    (
        "namespaces",
        re.compile(r"clone3.*Invalid argument", re.DOTALL),
        "a kernel with user, pid, net and cgroup namespaces",
    ),
    (
        "mounts",
        re.compile(r"mount_setattr|id-mapped"),
        f"Linux 5.19 or newer, and {_FILE_SYSTEMS}; or run with --userns host",
    ),
    ("mounts", re.compile(r"(fsopen|mount) overlay.*No such device", re.DOTALL), "modprobe overlay"),
    ("mounts", re.compile(r"overlay"), _FILE_SYSTEMS),
    ("mounts", re.compile(r"mqueue"), "a kernel with CONFIG_POSIX_MQUEUE"),
    (
        "cgroup",
        re.compile(r"bpf"),
        "let the daemon use bpf(2): CAP_BPF or CAP_SYS_ADMIN, no seccomp filter against it, CONFIG_CGROUP_BPF; "
        "or run with --privileged",
    ),
    ("cgroup", _ANY, "mount -t cgroup2 none /sys/fs/cgroup, where the daemon may write"),
    ("exec", re.compile(r"seccomp"), "a kernel with CONFIG_SECCOMP_FILTER; or --security-opt seccomp=unconfined"),
    ("exec", re.compile(r"apparmor"), "load the profile, or --security-opt apparmor=unconfined"),
    ("exec", re.compile(r"capabilities"), "run the daemon as root of the machine, with all capabilities"),
)


def remedy(stage: str, message: str, limits: Mapping[str, int]) -> str:
    """ "" where none is known.  `limits`: user.max_*_namespaces, by their names (namespaces(7))."""
    for at, words, text in _REMEDIES:
        if at == stage and words.search(message):
            return text.format(limit=_raise(limits))
    return ""


def _raise(limits: Mapping[str, int]) -> str:
    if not limits:
        return "raise user.max_*_namespaces"
    least = min(limits, key=lambda name: limits[name])
    return f"sysctl -w user.{least}=15000 (it is {limits[least]}), and the same in a file of /etc/sysctl.d"
