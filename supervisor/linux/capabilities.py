"""Capabilities by name, and dropping all but some of them.  Stdlib only: the child side imports it.

A container's set goes to bounding, permitted and effective; inheritable and ambient stay empty (CVE-2022-24769).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from hawse.supervisor.linux.syscalls import PR_CAPBSET_DROP, capset, permitted, prctl

# capabilities(7), in the order of their numbers; Linux 5.9 added the last
NAMES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
_NUMBERS = {name: number for number, name in enumerate(NAMES)}
_ALL = 64  # bits of the kernel's sets; those above its last capability answer EINVAL


def mask(names: Iterable[str]) -> int:
    """The bit mask of "CAP_CHOWN" and so on.  Raises ValueError for a name nobody knows."""
    bits = 0
    for name in names:
        if name not in _NUMBERS:
            raise ValueError(f"unknown capability {name}")
        bits |= 1 << _NUMBERS[name]
    return bits


def limit_bounding(allowed: int) -> None:
    """Drop every capability that is not in `allowed` from the bounding set.  Needs CAP_SETPCAP."""
    for number in range(_ALL):
        if not allowed >> number & 1:
            try:
                prctl(PR_CAPBSET_DROP, number)
            except OSError as e:
                if e.errno == errno.EINVAL:
                    return
                raise


def limit(allowed: int) -> None:
    """Permitted and effective become what is left of `allowed`; inheritable, and with it ambient, becomes empty."""
    left = permitted() & allowed
    capset(left, left, 0)
