"""What the machine refuses: disk, database, descriptors.  A clear error, a daemon that lives, nothing half-made."""

from __future__ import annotations

import json
import shutil

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


@pytest.fixture
def running(bare_lab: Lab) -> tuple[Lab, int]:
    """A lab with a container `box` in it, and the pid of its program."""
    bare_lab.daemon.start()
    bare_lab.hawse("image", "import", busybox_tar(), "busybox")
    bare_lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    return bare_lab, int(bare_lab.inspect("box")["State"]["Pid"])


def alive(lab: Lab, pid: int) -> bool:
    return (lab.inside / f"proc/{pid}").exists()


def test_a_damaged_database_is_refused_and_containers_run_on(running: tuple[Lab, int]) -> None:
    lab, pid = running
    lab.daemon.terminate()
    database = lab.root / "hawse.db"
    shutil.copy(database, lab.state / "good.db")
    database.write_bytes(b"this is no database " * 1000)
    lab.daemon.launch()
    lab.daemon.wait_dead()
    assert lab.daemon.ended == 1
    assert "is not a database" in lab.daemon.log and "containers keep running" in lab.daemon.log
    assert alive(lab, pid)
    shutil.copy(lab.state / "good.db", database)
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Pid"] == pid


def test_an_empty_database_kills_nobody(running: tuple[Lab, int]) -> None:
    """Who moves the database away must not lose what runs: the daemon refuses to sweep what it does not know."""
    lab, pid = running
    lab.daemon.terminate()
    (lab.root / "hawse.db").rename(lab.root / "aside.db")
    for _ in range(2):
        lab.daemon.launch()
        lab.daemon.wait_dead()
        assert lab.daemon.ended == 1
        assert alive(lab, pid)
    assert "does not know" in lab.daemon.log
    for left in lab.root.glob("hawse.db*"):
        left.unlink()
    (lab.root / "aside.db").rename(lab.root / "hawse.db")
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Pid"] == pid


def test_a_shim_of_a_newer_hawse_is_left_alone(running: tuple[Lab, int]) -> None:
    """The daemon is made the older one: it ends with a reason, and the container goes on."""
    lab, pid = running
    lab.daemon.terminate()
    program = (
        "from hawse.supervisor.runtime import reports\n"
        "reports.VERSION = 0; reports.MIN_VERSION = 0\n"
        "from hawse.supervisor.__main__ import main\n"
        "raise SystemExit(main([]))\n"
    )
    old = lab.run(["python", "-P", "-c", program], check=False)
    assert old.code == 1
    assert "speaks version 1, which is too new" in old.out + old.err
    assert alive(lab, pid)
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Pid"] == pid


def test_a_full_disk(bare_lab: Lab) -> None:
    """The state directory is a small tmpfs.  Full, a create is refused; an exit meanwhile is recorded when there is room."""
    lab = bare_lab
    lab.root.mkdir()
    lab.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(lab.root)])
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    pid = int(lab.inspect("box")["State"]["Pid"])
    lab.run(["sh", "-c", f"cat /dev/zero > {lab.root}/ballast"], check=False)
    refused = eventually(lambda: shown if (shown := lab.hawse("create", "busybox", "true", check=False)).code else None)
    assert refused is not None and refused.code in (1, 125)
    assert "full" in refused.err or "No space left" in refused.err
    assert lab.daemon.answers()
    ran = lab.hawse("exec", "box", "sh", "-c", "echo said; exit 7", check=False)
    assert (ran.out, ran.code) == ("said\n", 7), "it runs though it cannot be recorded, and its client hears its end"
    lab.run(["kill", "-9", str(pid)])
    eventually(lambda: not alive(lab, pid))
    assert lab.daemon.answers()
    lab.run(["rm", f"{lab.root}/ballast"])
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "exited")
    assert lab.inspect("box")["State"]["ExitCode"] == 137

    def told() -> list[str]:
        lines = lab.hawse("events", "--since", "1h", "--until", "0s", "--format", "json").out.splitlines()
        return [event["type"] for event in map(json.loads, lines) if ".exec_" in event["type"]]

    eventually(lambda: told() == ["container.exec_started", "container.exec_ended"])
    lab.hawse("create", "--name", "after", "busybox", "true")
    eventually(lambda: json.loads(lab.hawse("audit", "--format", "json", check=False).out) == [])


def test_descriptors_run_out(bare_lab: Lab) -> None:
    lab = bare_lab
    with (lab.state / "low.log").open("wb") as log:
        daemon = lab.popen(["prlimit", "--nofile=64:64", "hawse", "daemon"], stdout=log, stderr=log)
        try:
            eventually(lab.daemon.answers)
            lab.hawse("image", "import", busybox_tar(), "busybox")
            made = [lab.hawse("run", "-d", "busybox", "sleep", "1000", check=False) for _ in range(24)]
            refused = [one for one in made if one.code]
            assert refused, "64 descriptors are too few for 24 containers"
            assert all(one.err.strip() for one in refused), "each says why"
            eventually(lab.daemon.answers)
            assert daemon.poll() is None
            for one in made[:4]:
                lab.hawse("rm", "-f", one.out.strip())
            eventually(lambda: lab.hawse("run", "--rm", "busybox", "true"))
        finally:
            daemon.kill()
            daemon.wait()
