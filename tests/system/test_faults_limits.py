"""What else the machine refuses: writing, processes.  A clear error, a daemon that lives, nothing half-made, and no restart
needed when it is over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.snapshot import pid_inside
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.system.cgroups import directories


@contextmanager
def read_only(lab: Lab, directory: Path) -> Iterator[None]:
    """In the lab's mount namespace, for the block; nothing below may be open for writing."""
    lab.run(["mount", "--bind", str(directory), str(directory)])
    # Until nobody has begun to write between the two: busy.
    eventually(lambda: lab.run(["mount", "-o", "remount,bind,ro", str(directory)]))
    try:
        yield
    finally:
        # Lazily: the keeper may just be at work in it, trying again what was refused.
        lab.run(["umount", "--lazy", str(directory)])


def test_a_state_directory_that_is_read_only(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.root.mkdir()
    for _ in range(2):  # a new one, and one with a database
        with read_only(lab, lab.root):
            lab.daemon.launch()
            lab.daemon.wait_dead()
            assert lab.daemon.ended == 1
            told = [line for line in lab.daemon.log.splitlines() if "Read-only file system" in line]
            assert told and str(lab.root) in told[-1] and "Traceback" not in lab.daemon.log
        lab.daemon.start()
        lab.daemon.terminate()


def test_a_state_directory_that_becomes_read_only(lab: Lab) -> None:
    lab.hawse("create", "--name", "old", "busybox", "true")
    lab.hawse("create", "--name", "gone", "busybox", "true")
    containers = lab.root / "containers"
    with read_only(lab, containers):
        for refused in (("create", "--name", "new", "busybox", "true"), ("start", "old"), ("rm", "gone")):
            shown = lab.hawse(*refused, check=False)
            assert shown.code != 0
            assert str(containers) in shown.err and "Read-only file system" in shown.err, refused
        assert lab.hawse("ps", "-aq", "--filter", "name=new").out == ""
        assert lab.inspect("old")["State"]["Status"] == "created"
        assert lab.inspect("gone")["State"]["Status"] == "dead", "quarantined, and the reason is told"
        assert "Read-only file system" in lab.inspect("gone")["State"]["Error"]
        lab.hawse("network", "create", "elsewhere")  # nobody else is in its way
        lab.hawse("network", "rm", "elsewhere")
    lab.hawse("start", "old")
    lab.hawse("rm", "gone", check=False)  # unless the keeper was first
    eventually(lambda: lab.hawse("ps", "-aq", "--filter", "name=gone").out == "")
    lab.hawse("wait", "old")
    lab.hawse("run", "--rm", "--name", "new", "busybox", "true")
    lab.hawse("rm", "old")
    eventually(lambda: lab.hawse("audit"))


def test_a_disk_that_fails(lab: Lab) -> None:
    """The database cannot be written: an i/o error as far as SQLite can tell, by a limit on the size of files."""
    lab.hawse("run", "-d", "--name", "live", "busybox", "sleep", "1000")
    pid = lab.inspect("live")["State"]["Pid"]
    lab.daemon.terminate()
    process = lab.popen(["sh", "-c", "exec hawse daemon >/dev/null 2>&1"])
    try:
        eventually(lab.daemon.answers)
        daemon = str(pid_inside(lab.daemon.pid))
        lab.run(["prlimit", "--pid", daemon, "--fsize=4096:unlimited"])
        for refused in (("create", "busybox", "true"), ("stop", "live"), ("network", "create", "other")):
            shown = lab.hawse(*refused, check=False)
            assert shown.code != 0
            assert "hawse.db" in shown.err and "input/output error" in shown.err, refused
        lab.run(["kill", "-9", str(pid)])
        assert lab.hawse("ps", "-q").out.count("\n") == 1, "an end that cannot be written down is not told"
        lab.run(["prlimit", "--pid", daemon, "--fsize=unlimited:unlimited"])
        eventually(lambda: lab.inspect("live")["State"]["Status"] == "exited")
        assert lab.inspect("live")["State"]["ExitCode"] == 137
        lab.hawse("rm", "live")
        assert process.poll() is None
        eventually(lambda: lab.hawse("audit"))
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    lab.daemon.start()


@contextmanager
def no_more_processes(lab: Lab, pids: list[int], room: int) -> Iterator[None]:
    """Together they may have `room` processes and threads more than now.  (RLIMIT_NPROC does not bind root.)

    On v2 shims are born into a place of their own: there is room for none there, and then they are the spawner's.
    """
    controller = Path("/sys/fs/cgroup/pids") if Path("/sys/fs/cgroup/pids").exists() else Path("/sys/fs/cgroup")
    group = controller / f"hawse_{lab.instance}.limit"
    group.mkdir()
    try:
        for pid in pids:
            enter(group, pid)
        limited = {group: room}
        limited |= {shims: 0 for shims in directories(lab, "shims", "pids") if (shims / "pids.max").exists()}
        for place, more in limited.items():
            (place / "pids.max").write_text(str(int((place / "pids.current").read_text()) + more))
        yield
        for place in limited:
            (place / "pids.max").write_text("max")
    finally:
        eventually(lambda: emptied(group, controller))  # the last of its dead is reaped


def enter(group: Path, pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        (group / "cgroup.procs").write_text(str(pid))


def emptied(group: Path, into: Path) -> bool:
    for left in (group / "cgroup.procs").read_text().split():
        enter(into, int(left))
    group.rmdir()
    return True


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_more_processes(lab: Lab) -> None:
    """Wherever on the way it strikes: the shim, the midwife, the container's first process."""
    before = lab.settled()
    daemon = lab.daemon.pid
    (spawner,) = children(daemon)
    for room in range(4):
        with no_more_processes(lab, [daemon, spawner, *children(spawner)], room):
            made = [lab.hawse("run", "-d", "busybox", "sleep", "1000", check=False) for _ in range(4)]
            assert any(one.code for one in made), f"there was room for {room}"
            assert all("Resource temporarily unavailable" in one.err for one in made if one.code), made
            assert lab.daemon.answers() and lab.daemon.pid == daemon
            lab.hawse("ps")
        lab.hawse("run", "--rm", "busybox", "true")  # at once, and every time
        lab.hawse("rm", "-f", *lab.hawse("ps", "-aq").out.split())
        eventually(lambda: lab.hawse("audit"))
        assert lab.leaks(before) == []


def test_no_more_threads(lab: Lab) -> None:
    """The daemon's own: who wanted one is refused, and what the daemon does for itself waits."""
    lab.hawse("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000")
    daemon = lab.daemon.pid

    def ask(number: int) -> tuple[int, bytes]:
        if number % 2:
            return lab.daemon.request("GET", "/containers/box/changes")
        return lab.daemon.request("POST", "/volumes/create", {"Name": f"kept{number}"})

    with no_more_processes(lab, [daemon], 0), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(48)))
        assert {status for status, _ in answers} <= {200, 201, 500}
        assert all(b"Resource temporarily unavailable" in said for status, said in answers if status == 500)
        assert lab.daemon.answers() and lab.daemon.pid == daemon
    for number in range(0, 48, 2):
        assert lab.daemon.request("DELETE", f"/volumes/kept{number}")[0] in (204, 404)
    assert ask(1)[0] == 200
    lab.hawse("rm", "-f", "box")


def test_a_killed_shim(lab: Lab) -> None:
    """By hand, or by a kernel that is short of memory: the container ends with it, and the record says why."""
    lab.hawse("run", "-d", "--name", "box", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    told = json.loads(lab.daemon.request("GET", "/hawse/v1/containers/box")[1])["container"]
    address = lab.address("box", "bridge")
    lab.run(["kill", "-9", str(told["shim"]["pid"])])
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "exited")
    eventually(lambda: not (lab.inside / f"proc/{told['process']['pid']}").exists())  # no process without a keeper
    state = lab.inspect("box")["State"]
    assert state["ExitCode"] != 0
    assert "shim" in state["Error"]
    assert not lab.client.reaches(HOST, 8080)
    lab.hawse("start", "box")
    assert lab.address("box", "bridge") == address
    lab.hawse("rm", "-f", "box")
