"""What was tried of this machine and how it went, and those trials that need no container.

A trial does the thing: what a kernel's version or a file in /sys promises is not asked.  Nothing stays.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux import apparmor, sysctl
from hawse.supervisor.linux.conntrack import Conntrack
from hawse.supervisor.linux.mountinfo import filesystem

LEAST_SPACE = 64 << 20  # bytes; below it an image is not unpacked, and soon nothing starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    name: str
    found: bool
    costs: str  # what does not work, or works less well, without it
    detail: str = ""  # how it was found, or why it was not
    remedy: str = ""
    needed: bool = False  # a run with default options fails without it

    def __str__(self) -> str:
        text = f"{self.name}: {self.costs}"
        return text + (f" ({self.detail})" if self.detail else "") + (f"; {self.remedy}" if self.remedy else "")


def state_directory(root: Path) -> Feature:
    """Room, and the attributes in which overlay keeps what a container has removed (overlayfs.rst, "userxattr")."""
    kind = filesystem(root)
    costs, remedy, detail = "", "", kind
    room = os.statvfs(root)
    if (free := room.f_bavail * room.f_frsize) < LEAST_SPACE:
        costs, remedy = "the disk is nearly full: starts and imports will be refused", f"free some space below {root}"
        detail = f"{free >> 20} MiB free"
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix="trial-") as file:
            os.setxattr(file.name, "user.overlay.trial", b"y")
    except OSError as e:
        costs = "a directory of the image that a container removes and makes again shows its old files"
        detail, remedy = f"{kind}: {e.strerror}", "a --root on ext4, xfs or btrfs"
    return Feature(name="state directory", found=not costs, costs=costs, detail=detail, remedy=remedy)


def forwarding() -> Feature:
    """Written with the value that it has: a first network turns it on."""
    setting = ("net", "ipv4", "ip_forward")
    why = ""
    try:
        sysctl.path(*setting).write_text(sysctl.read(*setting) or "0")
    except OSError as e:
        why = e.strerror or str(e)
    return Feature(
        name="ip_forward",
        found=not why,
        costs="no networks",
        detail=why,
        remedy="let the daemon write /proc/sys/net (ProtectKernelTunables=no in its unit)",
        needed=True,
    )


def bridged_packets() -> Feature:
    """br_netfilter: packets between containers of one bridge pass the host's rules, also those of other programs."""
    value = sysctl.read("net", "bridge", "bridge-nf-call-iptables")
    return Feature(
        name="bridges without br_netfilter",
        found=value in (None, "0"),
        costs="rules of other programs, such as docker's FORWARD policy, also apply between containers of one network",
        detail="not loaded" if value is None else f"bridge-nf-call-iptables {value}",
        remedy="sysctl -w net.bridge.bridge-nf-call-iptables=0, where no other program needs it",
    )


def connection_tracking() -> Feature:
    return Feature(
        name="connection tracking",
        found=Conntrack.available(),
        costs="udp clients of a published port may go on talking to the container that had it before",
        remedy="modprobe nf_conntrack_netlink",
    )


def confinement(default: str) -> Feature | None:
    """None without AppArmor, which is not missed."""
    if not apparmor.is_enabled():
        return None
    return Feature(
        name="AppArmor",
        found=apparmor.is_loaded(default),
        costs=f"containers run unconfined, for the profile {default} is not loaded",
        remedy="hawse system install (apparmor_parser is in Debian's package apparmor)",
    )


def why(error: Exception) -> str:
    """Return what to show of a trial that failed."""
    return error.message if isinstance(error, KernelError) else str(error)
