"""The state database is damaged, or lost, under running containers: it is made anew, and nobody has to stop."""

from __future__ import annotations

import json

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")


def copied(lab: Lab) -> bool:
    """Every container's copy is as `ps` shows it."""
    kept = [json.loads(path.read_text()) for path in (lab.root / "records/v1/container").glob("*.json")]
    shown = json.loads(lab.daemon.request("GET", "/containers/json?all=1")[1])
    return {(one["container"]["name"], one["container"]["state"], len(one["endpoints"])) for one in kept} == {
        (one["Names"][0].lstrip("/"), one["State"], 1 if one["State"] == "running" else 0) for one in shown
    }


def test_rebuild(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "--rm", "-p", "18080:80", "busybox", "true")
    before = lab.settled()
    lab.hawse("network", "create", "--label", "a=b", "quay")
    lab.hawse("volume", "create", "things")
    names = {"one": 8081, "two": 8082}
    for name, port in names.items():
        flags = ("--network", "quay", "-p", f"{port}:80", "-v", "things:/things", "--restart", "on-failure:2")
        lab.hawse("run", "-d", "--name", name, *flags, "busybox", *HTTPD)
    lab.hawse("run", "--name", "ended", "busybox", "sh", "-c", "echo kept > /file; exit 7", check=False)
    lab.hawse("create", "--name", "never", "--ip", "172.30.0.77", "busybox", "true")
    eventually(lambda: copied(lab))
    told = {name: lab.inspect(name) for name in (*names, "ended", "never")}
    networks = lab.hawse("network", "ls").out
    lab.daemon.kill9()
    database = lab.root / "hawse.db"
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"damaged " * 4096)
    for side in ("-wal", "-shm"):
        (lab.root / f"hawse.db{side}").unlink(missing_ok=True)
    lab.daemon.launch()
    lab.daemon.wait_dead()
    assert lab.daemon.ended == 1 and "--rebuild-state" in lab.daemon.log
    lab.daemon.start("--rebuild-state")
    for name, port in names.items():
        now = lab.inspect(name)
        assert now["State"]["Pid"] == told[name]["State"]["Pid"]
        assert lab.client.get(HOST, port, "/index.html") == b"hello from busybox\n"
    for name, was in told.items():
        now = lab.inspect(name)
        for part in ("Config", "HostConfig", "Mounts", "Image", "NetworkSettings"):
            assert now[part] == was[part], (name, part)
        assert (now["State"]["Status"], now["State"]["ExitCode"]) == (was["State"]["Status"], was["State"]["ExitCode"])
    assert lab.hawse("network", "ls").out == networks
    assert lab.hawse("exec", "one", "cat", "/www/index.html").code == 0
    assert len(list(lab.root.glob("hawse.db.2*Z"))) == 1, "what was there is kept"
    eventually(lambda: lab.hawse("audit"))
    assert not anomalies(database)

    lab.run(["kill", "-9", str(told["two"]["State"]["Pid"])])  # its restart policy is in force again
    eventually(lambda: lab.inspect("two")["State"]["Running"] and lab.inspect("two")["RestartCount"] == 1)
    lab.hawse("commit", "ended", "snapshot")
    assert lab.hawse("run", "--rm", "snapshot", "cat", "/file").out == "kept\n", "its files are still there"
    lab.hawse("start", "never")
    lab.daemon.restart()  # without the flag, and with it: a sound one is left as it is
    lab.daemon.terminate()
    lab.daemon.start("--rebuild-state")
    assert "state_is_sound" in lab.daemon.log
    lab.hawse("rm", "-f", *told)
    lab.hawse("network", "rm", "quay")
    lab.hawse("volume", "rm", "things")
    lab.hawse("image", "rm", "snapshot")
    for kept in lab.root.glob("hawse.db.2*"):
        kept.unlink()
    eventually(lambda: not list((lab.root / "records/v1/container").iterdir()))
    lab.daemon.restart()
    assert lab.leaks(before) == []


def test_a_new_database_sweeps_nothing(bare_lab: Lab) -> None:
    """Nothing runs; what lies on the disk is not taken for leftovers because the database was lost."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    eventually(lambda: list((lab.root / "records/v1/image").glob("*.json")))
    layers = list((lab.root / "layers").iterdir())
    lab.daemon.terminate()
    (lab.root / "hawse.db").unlink()
    for _ in range(2):
        lab.daemon.launch()
        lab.daemon.wait_dead()
        assert lab.daemon.ended == 1 and "--rebuild-state" in lab.daemon.log
    assert list((lab.root / "layers").iterdir()) == layers
    lab.daemon.start("--rebuild-state")
    lab.hawse("run", "--rm", "busybox", "true")
