"""What the daemon was started with is the daemon's own: a container does not inherit it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab

SHOW = ("cat", "/proc/self/oom_score_adj")


@contextmanager
def adjusted(value: int) -> Iterator[None]:
    """This process, whose children inherit it."""
    file = Path("/proc/self/oom_score_adj")
    before = file.read_text()
    file.write_text(str(value))
    try:
        yield
    finally:
        file.write_text(before)


def test_the_oom_score_adjustment(bare_lab: Lab) -> None:
    """Of the shipped unit it is lower than everybody's; here it is higher, for the sandbox may not lower any."""
    with adjusted(300):
        bare_lab.daemon.start()
    assert Path(f"/proc/{bare_lab.daemon.pid}/oom_score_adj").read_text() == "300\n"
    bare_lab.hawse("image", "import", busybox_tar(), "busybox")
    bare_lab.hawse("run", "-d", "--name", "app", "busybox", "sleep", "600")
    for shown in (
        bare_lab.hawse("exec", "app", "cat", "/proc/1/oom_score_adj"),
        bare_lab.hawse("exec", "app", *SHOW),
        bare_lab.hawse("run", "--rm", "--oom-score-adj", "0", "busybox", *SHOW),
    ):
        assert shown.out == "0\n"
    bare_lab.hawse("run", "-d", "--name", "own", "--oom-score-adj", "77", "busybox", "sleep", "600")
    assert bare_lab.hawse("exec", "own", *SHOW).out == "77\n", "an exec has the container's, as docker's"
    bare_lab.hawse("rm", "-f", "own")
    assert bare_lab.hawse("run", "--rm", "--oom-score-adj", "77", "busybox", *SHOW).out == "77\n"
    bare_lab.hawse("rm", "-f", "app")


def test_the_limit_of_descriptors(bare_lab: Lab) -> None:
    """The daemon takes what it may have; a container begins with what the daemon was started with."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, before[1]))
    try:
        bare_lab.daemon.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert resource.prlimit(bare_lab.daemon.pid, resource.RLIMIT_NOFILE) == (before[1], before[1])
    bare_lab.hawse("image", "import", busybox_tar(), "busybox")
    assert bare_lab.hawse("run", "--rm", "busybox", "sh", "-c", "ulimit -Sn").out == "700\n"
