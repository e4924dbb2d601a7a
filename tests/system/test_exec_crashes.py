"""An exec outlives the daemon that began it, and its end is told by the next one."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

WAITS = ("sh", "-c", "cd /shared; touch begun; while ! [ -e go ]; do sleep 0.02; done; echo done; touch gone; exit 9")


def told(lab: Lab, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, lab.hawse("history", lab.inspect("box")["Id"]).out.splitlines())
    return [event for event in lines if event["type"] == kind]


@pytest.mark.parametrize("ends", ["while there is a daemon", "while there is none"])
def test_its_exit_code_reaches_client_and_journal(lab: Lab, ends: str) -> None:
    shared = lab.share / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    lab.hawse("run", "-d", "--name", "box", "--network", "none", "-v", f"{shared}:/shared", "busybox", "sleep", "1000")
    client = lab.popen(["hawse", "exec", "box", *WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        eventually((shared / "begun").exists)
        begun = eventually(lambda: told(lab, "container.exec_started"))[0]
        lab.daemon.kill9()
        if ends == "while there is none":
            (shared / "go").touch()
            eventually((shared / "gone").exists)
        lab.daemon.start()
        (shared / "go").touch()
    finally:
        (shared / "go").touch()
        out, _ = client.communicate(timeout=PATIENCE)
    (ended,) = eventually(lambda: told(lab, "container.exec_ended"))
    assert (ended["data"]["exec_id"], ended["data"]["code"], ended["cause"]) == (
        begun["data"]["exec_id"],
        9,
        begun["id"],
    )
    status, body = lab.daemon.request("GET", f"/exec/{begun['data']['exec_id']}/json")
    assert status == 200 and json.loads(body)["ExitCode"] == 9
    assert out == b"done\n"
    if ends == "while there is a daemon":
        assert client.returncode == 9
    lab.daemon.kill9()
    lab.daemon.start()
    assert len(told(lab, "container.exec_ended")) == 1
    lab.hawse("rm", "-f", "box")
    shutil.rmtree(shared)


@pytest.mark.parametrize("first", ["container", "exec"])
def test_one_whose_container_ends_while_there_is_no_daemon_has_ended(lab: Lab, first: str) -> None:
    """Nobody knows how; it is told once, and before its container's end."""
    shared = lab.share / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    lab.hawse("run", "-d", "--name", "box", "--network", "none", "-v", f"{shared}:/shared", "busybox", "sleep", "1000")
    lab.hawse("exec", "-d", "box", *WAITS)
    lab.hawse("exec", "box", "true")
    eventually((shared / "begun").exists)
    begun = eventually(lambda: told(lab, "container.exec_started"))[0]
    eventually(lambda: len(told(lab, "container.exec_ended")) == 1)
    container = json.loads(lab.daemon.request("GET", "/hawse/v1/containers/box")[1])["container"]
    lab.daemon.kill9()
    if first == "exec":
        (shared / "go").touch()
        eventually((shared / "gone").exists)
    lab.run(["kill", "-9", str(container["process"]["pid"])])
    eventually(lambda: not (lab.inside / f"proc/{container['shim']['pid']}").exists())
    for _ in range(2):
        lab.daemon.start()
        assert lab.inspect("box")["State"]["Status"] == "exited"
        known, ended = told(lab, "container.exec_ended")
        assert known["data"]["code"] == 0
        assert (ended["data"]["exec_id"], ended["data"].get("code"), ended["cause"]) == (
            begun["data"]["exec_id"],
            None,
            begun["id"],
        )
        assert ended["seq"] < told(lab, "container.exited")[0]["seq"]
        lab.daemon.kill9()
    lab.daemon.start()
    lab.hawse("rm", "-f", "box")
    shutil.rmtree(shared)
