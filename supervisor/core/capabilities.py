"""Which capabilities a container has: docker's default set (moby daemon/pkg/oci, read 2026-08), and what was asked.  Pure."""

from __future__ import annotations

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig

DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
# capabilities(7), in the order of their numbers; Linux 5.9 added the last
ALL_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)


def capabilities(config: ContainerConfig) -> list[str]:
    """Docker's default set, with --cap-add, --cap-drop (ALL understood) and --privileged applied."""
    if config.privileged:
        return list(ALL_CAPABILITIES)
    added, dropped = (_named(names) for names in (config.cap_add, config.cap_drop))
    base = set(ALL_CAPABILITIES) if "ALL" in added else set(DEFAULT_CAPABILITIES)
    if "ALL" in dropped:
        base = set(ALL_CAPABILITIES) if "ALL" in added else set()
    return sorted((base - dropped) | (added - {"ALL"}))


def _named(names: tuple[str, ...]) -> set[str]:
    found = set()
    for name in names:
        full = name.upper()
        full = full if full == "ALL" or full.startswith("CAP_") else f"CAP_{full}"
        if full != "ALL" and full not in ALL_CAPABILITIES:
            raise UserError(f'invalid capability: unknown capability: "{full}"', hint="see capabilities(7)")
        found.add(full)
    return found
