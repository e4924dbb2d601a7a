"""What the daemon was started with is the daemon's own: a container does not inherit it."""

from __future__ import annotations

import json
import resource
import signal
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


LIMITS = {  # what getrlimit(2) knows but sigpending, which is the machine's: soft and hard as /proc/PID/limits shows them
    "Max cpu time": ("unlimited", "unlimited"),
    "Max file size": ("unlimited", "unlimited"),
    "Max data size": ("unlimited", "unlimited"),
    "Max stack size": ("8388608", "unlimited"),
    "Max core file size": ("unlimited", "unlimited"),
    "Max resident set": ("unlimited", "unlimited"),
    "Max processes": ("unlimited", "unlimited"),
    "Max open files": ("1024", "524288"),
    "Max locked memory": ("8388608", "8388608"),
    "Max address space": ("unlimited", "unlimited"),
    "Max msgqueue size": ("819200", "819200"),
    "Max nice priority": ("0", "0"),
    "Max realtime priority": ("0", "0"),
    "Max realtime timeout": ("unlimited", "unlimited"),
}
LOWER = {  # of the daemon alone: soft ones, which may be raised again without being root of the host
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 700,
    resource.RLIMIT_STACK: 4 << 20,
    resource.RLIMIT_NPROC: 5000,
    resource.RLIMIT_MEMLOCK: 4096,
}


@contextmanager
def limited() -> Iterator[None]:
    """This process, whose children inherit it."""
    before = {number: resource.getrlimit(number) for number in LOWER}
    try:
        for number, soft in LOWER.items():
            resource.setrlimit(number, (soft, before[number][1]))
        yield
    finally:
        for number, both in before.items():
            resource.setrlimit(number, both)


def shown(text: str) -> dict[str, tuple[str, str]]:
    return {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in text.splitlines()[1:]}


def expected() -> dict[str, tuple[str, str]]:
    """Less where this sandbox's root may not raise what it was given."""
    own = shown(Path("/proc/self/limits").read_text())

    def least(limit: str, most: str) -> str:
        return str(min((value for value in (limit, most) if value != "unlimited"), key=int, default="unlimited"))

    if may_raise():
        return LIMITS
    return {name: (least(soft, own[name][1]), least(hard, own[name][1])) for name, (soft, hard) in LIMITS.items()}


def may_raise() -> bool:
    """CAP_SYS_RESOURCE, capability 24."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> 24 & 1)


def test_resource_limits(bare_lab: Lab) -> None:
    """The unit's, a login's and a script's are different; a container's are the same: its own, or the defaults."""
    with limited():
        bare_lab.daemon.start()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(bare_lab.daemon.pid, resource.RLIMIT_NOFILE) == (before[1], before[1]), (
        "it takes all it may"
    )
    bare_lab.hawse("image", "import", busybox_tar(), "busybox")
    bare_lab.hawse("run", "-d", "--name", "app", "--ulimit", "nofile=99:100", "busybox", "sleep", "600")
    show = ("cat", "/proc/self/limits")
    told = shown(bare_lab.hawse("run", "--rm", "busybox", *show).out)
    assert {name: told[name] for name in LIMITS} == expected()
    told = shown(bare_lab.hawse("exec", "app", *show).out)
    assert {name: told[name] for name in LIMITS} == expected() | {"Max open files": ("99", "100")}
    bare_lab.hawse("rm", "-f", "app")


def test_ignored_signals(lab: Lab) -> None:
    """Ignoring outlives exec (execve(2)).  The shim ignores what ends everything else on a machine that goes down."""
    show = ("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    nothing = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    for flags in ((), ("--init",), ("--userns", "host")):
        assert lab.hawse("run", "--rm", *flags, "busybox", *show).out == nothing
    lab.hawse("run", "-d", "--name", "app", "busybox", "sh", "-c", "trap 'exit 7' USR2; while :; do sleep 0.05; done")
    assert lab.hawse("exec", "app", *show).out == nothing
    shim = json.loads(lab.daemon.request("GET", "/hawse/v1/containers/app")[1])["container"]["shim"]["pid"]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        lab.run(["kill", f"-{int(number)}", str(shim)])
    lab.hawse("stop", "-s", "USR2", "app")
    assert lab.inspect("app")["State"]["ExitCode"] == 7, "the shim told it"
    lab.hawse("rm", "app")
