"""Whoever is waited for may hang: a shim that is stopped (SIGSTOP) answers nothing.  Everybody is answered all the same, in
time, and nobody else waits."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from hawse.cli.selftest.world import Result


def freeze(lab: Lab, name: str) -> int:
    """Its shim's pid, inside."""
    told = json.loads(lab.daemon.request("GET", f"/hawse/v1/containers/{name}")[1])["container"]
    pid = int(told["shim"]["pid"])
    lab.run(["kill", "-STOP", str(pid)])
    return pid


def test_a_shim_that_hangs(lab: Lab) -> None:
    names = ("stopped", "removed", "killed")
    for name in names:
        lab.hawse("run", "-d", "--name", name, "busybox", "sleep", "1000")
    shims = [freeze(lab, name) for name in names]
    verbs = (("stop", "-t", "0", "stopped"), ("rm", "-f", "removed"), ("kill", "killed"))

    def ask(verb: tuple[str, ...]) -> Result:
        return lab.hawse(*verb)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, verb) for verb in verbs]
        busy = threading.Event()
        for one in asked:
            one.add_done_callback(lambda _: busy.set())
        for _ in range(2):
            lab.hawse("run", "--rm", "busybox", "true")  # others are not in their way
        for one in asked:
            one.result()
    eventually(lambda: lab.inspect("killed")["State"]["Status"] == "exited")
    assert lab.inspect("stopped")["State"]["Status"] == "exited"
    assert lab.inspect("stopped")["State"]["ExitCode"] in (137, 255), "the kernel knows, if it is new enough"
    assert "shim" in lab.inspect("stopped")["State"]["Error"]
    eventually(lambda: not [pid for pid in shims if (lab.inside / f"proc/{pid}").exists()])  # they do not stay behind
    lab.hawse("start", "stopped")
    lab.hawse("rm", "-f", "stopped", "killed")


def test_a_shim_that_hangs_does_not_keep_a_daemon_from_starting(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "hangs", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "fine", "busybox", "sleep", "1000")
    shim = freeze(lab, "hangs")
    lab.daemon.kill9()
    lab.daemon.launch()
    lab.daemon.wait_ready()
    assert lab.inspect("fine")["State"]["Running"]
    assert lab.inspect("hangs")["State"]["Status"] == "exited"
    eventually(lambda: not (lab.inside / f"proc/{shim}").exists())
    lab.hawse("rm", "-f", "hangs", "fine")
