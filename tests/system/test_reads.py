"""What containers and images can write, and the daemon reads: however much it is, the daemon stays small and answers."""

from __future__ import annotations

import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab

IDLE = ("sleep", "1000")
HUGE = ("sh", "-c", 'truncate -s 3G "$0" 2>/dev/null || dd if=/dev/null of="$0" bs=1M seek=3072 2>/dev/null')
"""Grows the file that follows to 3 GB, nearly all of it a hole."""
GROWTH = 64 << 10  # KiB
SILENCE = 2.0  # seconds


def memory(lab: Lab, what: str) -> int:
    """KiB: VmRSS is what the daemon has, VmHWM the most that it had since its peak was last forgotten."""
    text = Path(f"/proc/{lab.daemon.pid}/status").read_text()
    return int(text.partition(f"\n{what}:")[2].split()[0])


@contextmanager
def small_and_awake(lab: Lab) -> Iterator[None]:
    """Within the block the daemon neither grows much, not even for a moment, nor leaves a ping unanswered for long."""
    Path(f"/proc/{lab.daemon.pid}/clear_refs").write_text("5")  # proc_pid_clear_refs(5): forget the peak
    before, longest, over = memory(lab, "VmRSS"), 0.0, threading.Event()

    def ask() -> None:
        nonlocal longest
        while not over.wait(0.05):
            begun = time.monotonic()
            lab.daemon.request("GET", "/_ping")
            longest = max(longest, time.monotonic() - begun)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
    assert longest < SILENCE, f"the daemon was silent for {longest:.1f} s"
    grown = memory(lab, "VmHWM") - before
    assert grown < GROWTH, f"the daemon grew by {grown >> 10} MiB"


def test_a_huge_hosts_file_is_shared_and_never_read(lab: Lab) -> None:
    """Read and copied for whoever joins its network, it cost gigabytes of memory and as many on the disk."""
    lab.hawse("run", "-d", "--name", "owner", "busybox", *IDLE)
    lab.hawse("exec", "owner", *HUGE, "/etc/hosts")
    with small_and_awake(lab):
        size = lab.hawse("run", "--rm", "--network", "container:owner", "busybox", "stat", "-c", "%s", "/etc/hosts").out
        assert int(size) == 3 << 30
        lab.hawse("network", "create", "more")
        lab.hawse("network", "connect", "more", "owner")  # its files would follow: this one is not ours any more
        lab.hawse("restart", "-t", "0", "owner")
    assert int(lab.hawse("exec", "owner", "stat", "-c", "%s", "/etc/hosts").out) < 1000, "a start makes it anew"
    lab.hawse("rm", "-f", "owner")
    lab.hawse("network", "rm", "more")


def test_a_huge_passwd_in_the_root(lab: Lab) -> None:
    """Refused with its limit, by a start and by an exec; who is given as a number is no exception, his home is in it."""
    root = lab.share / "root"
    root.mkdir()
    with tarfile.open(busybox_tar()) as archive:
        archive.extractall(root, filter="tar")
    (root / "etc").mkdir(exist_ok=True)
    lab.hawse("run", "-d", "--name", "app", "--rootfs", root, *IDLE)
    lab.hawse("exec", "app", *HUGE, "/etc/passwd")
    with small_and_awake(lab):
        refused = lab.hawse("exec", "--user", "app", "app", "true", check=False)
        assert refused.code == 126 and "/etc/passwd is not a plain file of at most 16 MiB" in refused.err, refused
        again = lab.hawse("restart", "-t", "0", "app", check=False)
        assert again.code == 1 and "/etc/passwd is not a plain file of at most 16 MiB" in again.err, again
    lab.hawse("rm", "-f", "app")
    shutil.rmtree(root)


def test_names_that_are_no_text(lab: Lab) -> None:
    """What of them cannot be shown is shown as such; they ended diff and cp with an internal error."""
    odd = r"mkdir /odd; touch $(printf '/odd/\377file'); ln -s $(printf '\377goal') /odd/link"
    lab.hawse("run", "--name", "odd", "busybox", "sh", "-c", odd)
    assert lab.hawse("diff", "odd").out.endswith("A /odd\nA /odd/link\nA /odd/\ufffdfile\n")
    lab.hawse("cp", "odd:/odd", lab.share / "copy")
    assert os.readlink(os.fsencode(lab.share / "copy" / "link")) == b"\xffgoal"
    assert os.path.isfile(os.fsencode(lab.share / "copy") + b"/\xfffile")
    lab.hawse("cp", "odd:/odd/link", lab.share / "alone")
    assert os.readlink(os.fsencode(lab.share / "alone")) == b"\xffgoal"
    shutil.rmtree(lab.share / "copy")
    (lab.share / "alone").unlink()
    lab.hawse("rm", "odd")
