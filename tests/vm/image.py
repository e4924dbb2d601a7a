"""The image of a Debian machine: a file system that is made once, kept, and never written to afterwards.

It is an ext4 file system with Debian's own kernel and initrd beside it, so that qemu boots it without a boot loader.
Disks of machines are copy-on-write views of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.roots import debian_mirror

CACHE = Path("/var/cache/hawse-test-machines")
GUEST = Path(__file__).with_name("guest")
SIZE = "24G"  # of which the file takes what is used
SUITES = ("trixie", "bookworm")
PYTHON = {"trixie": "3.13", "bookworm": "3.11"}

BASE = "systemd systemd-sysv systemd-resolved dbus udev kmod linux-image-amd64 initramfs-tools"
TOOLS = "iproute2 iputils-ping nftables iptables conntrack curl procps psmisc strace sqlite3 jq less zstd attr acl"
NEEDED = "libnftables1 libseccomp2 python3 python3-venv busybox-static debootstrap ca-certificates"
BESIDE = "apparmor apparmor-utils docker.io podman crun netavark aardvark-dns firewalld ufw"
"""What people have on the same machine; nothing of it runs unless a test starts it."""
DRIVERS = ("virtio_pci", "virtio_blk", "ext4")
"""All that the initrd needs to find the disk."""


@dataclass(frozen=True, slots=True)
class Image:
    disk: Path
    kernel: Path
    initrd: Path


def image(suite: str) -> Image:
    """The image of a Debian release, made if it is not there: a minute or two of downloads.  Raises RuntimeError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    name = f"{suite}-{_recipe()}"
    found = Image(disk=CACHE / f"{name}.img", kernel=CACHE / f"{name}.vmlinuz", initrd=CACHE / f"{name}.initrd")
    with _turn(suite):
        if not found.disk.exists():
            sys.stderr.write(f"making a {suite} machine in {CACHE}, once: some two minutes\n")
            _make(suite, found)
    return found


def _recipe() -> str:
    """Whatever decides about the content, so that another list or another agent makes another image."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(p for p in GUEST.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(GUEST)).encode() + path.read_bytes())
    return digest.hexdigest()[:10]


@contextmanager
def _turn(suite: str) -> Iterator[None]:
    with (CACHE / f".{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(suite: str, image: Image) -> None:
    tree, log = CACHE / f"{suite}.tree", CACHE / f"{suite}.log"
    shutil.rmtree(tree, ignore_errors=True)
    with log.open("wb") as output:
        try:
            # In a mount namespace of its own: what mmdebstrap mounts in the tree goes with it.
            run = ["unshare", "--mount", "--propagation", "private", *_mmdebstrap(suite, tree)]
            subprocess.run(run, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=1500)
            (kernel,) = (tree / "boot").glob("vmlinuz-*")
            (initrd,) = (tree / "boot").glob("initrd.img-*")
            shutil.copy(kernel, image.kernel)
            shutil.copy(initrd, image.initrd)
            new = image.disk.with_suffix(".new")
            new.unlink(missing_ok=True)
            with new.open("wb") as file:
                file.truncate(int(SIZE.removesuffix("G")) << 30)
            make = ["mkfs.ext4", "-q", "-L", "root", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
            subprocess.run([*make, "-d", tree, new], check=True, stdout=output, stderr=output)
            os.replace(new, image.disk)
        except (OSError, subprocess.SubprocessError) as e:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the {suite} machine could not be made ({e}); the end of {log}:\n{tail}") from None
    shutil.rmtree(tree)


def _mmdebstrap(suite: str, tree: Path) -> list[str]:
    modules = " ".join(DRIVERS)
    return [
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join(' '.join((BASE, TOOLS, NEEDED, BESIDE)).split())}",
        '--aptopt=Apt::Install-Recommends "false"',
        # before the kernel's package makes the initrd
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"'
        ' && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/machine"'
        f' && printf "%s\\n" {modules} >"$1/etc/initramfs-tools/modules"',
        f'--customize-hook=cp -rT "{GUEST}" "$1"',
        '--customize-hook=chroot "$1" /usr/local/lib/machine-settle',
        *(suite, str(tree), debian_mirror(suite)),
    ]
