"""What this kernel and machine offer, and what the lack of each costs: for `hawse info`.

Probed by looking, never by trying: nothing is made, so it can be asked for at any time.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    name: str
    found: bool
    costs: str  # what does not work, or works less well, without it
    detail: str = ""


def probe(cgroups: Hierarchy) -> list[Feature]:
    kernel = kernel_version(platform.release())
    missing = cgroups.missing()
    library = ctypes.util.find_library("nftables")
    user_namespaces = _number("/proc/sys/user/max_user_namespaces")
    return [
        Feature(
            name="user namespaces",
            found=user_namespaces > 0,
            costs="containers need --userns host, their root is the host's",
            detail=f"max_user_namespaces {user_namespaces}",
        ),
        Feature(
            name="id-mapped mounts",
            found=kernel >= (5, 19),
            costs="containers need --userns host (overlay on id-mapped layers: Linux 5.19)",
        ),
        Feature(name="overlay", found=_filesystem("overlay"), costs="no container can start"),
        Feature(
            name="seccomp",
            found=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
            costs="system calls are not filtered",
        ),
        Feature(name="libnftables", found=library is not None, costs="no networks: apt install libnftables1"),
        Feature(
            name="nftables owner and persist",
            found=kernel >= (6, 9),
            costs="another program's `nft flush ruleset` takes our rules, which then have to be repaired",
        ),
        Feature(
            name="cgroup limits",
            found=not missing,
            costs=f"not enforced: {', '.join(missing)}" if missing else "limits are not enforced",
            detail="v2" if cgroups.v2 else "v1",
        ),
        Feature(
            name="cgroup v2",
            found=cgroups.v2 is not None,
            costs="a start waits about 10 ms longer for the first write to a v1 cgroup; a kill is not atomic",
        ),
        Feature(
            name="exit status by pidfd",
            found=kernel >= (6, 15),
            costs="the exit code of a container whose shim was killed is unknown",
        ),
    ]


def kernel_version(release: str) -> tuple[int, int]:
    """`6.18.0-rc1+` as (6, 18)."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def _filesystem(name: str) -> bool:
    """Known to the kernel, or there as a module that it loads on demand."""
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines() if line}
    return name in known or any(
        os.path.exists(f"/lib/modules/{platform.release()}/kernel/fs/overlayfs/overlay.ko{suffix}")
        for suffix in ("", ".xz", ".zst", ".gz")
    )
