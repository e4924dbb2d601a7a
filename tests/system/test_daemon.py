"""The daemon's own life: containers outlive it, several live side by side, the command line starts one."""

from __future__ import annotations

import signal
import subprocess

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab, remove_cgroups
from hawse.cli.selftest.snapshot import everybody, links, ruleset
from hawse.cli.selftest.waiting import PATIENCE, eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")


def test_sigterm_leaves_containers_running(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", *HTTPD)
    eventually(lambda: lab.client.reaches(HOST, 8080))
    pid = lab.inspect("web")["State"]["Pid"]
    lab.daemon.terminate()
    assert (lab.inside / f"proc/{pid}").exists()
    assert lab.client.get(HOST, 8080, "/index.html") == b"hello from busybox\n", "nobody is needed for traffic"
    lab.daemon.start()
    state = lab.inspect("web")["State"]
    assert (state["Running"], state["Pid"]) == (True, pid)
    assert lab.hawse("exec", "web", "echo", "still").out == "still\n"
    lab.hawse("rm", "-f", "web")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_exit_while_no_daemon_lives_is_not_lost(lab: Lab, how: signal.Signals) -> None:
    script = "trap 'exit 23' USR1; echo up; while :; do sleep 0.02; done"
    lab.hawse("run", "-d", "--name", "short", "busybox", "sh", "-c", script)
    eventually(lambda: lab.hawse("logs", "short").out == "up\n")
    pid = lab.inspect("short")["State"]["Pid"]
    lab.daemon.signal(how)
    lab.run(["kill", "-USR1", str(pid)])
    eventually(lambda: not (lab.inside / f"proc/{pid}").exists())
    lab.daemon.start()
    eventually(lambda: lab.inspect("short")["State"]["Status"] == "exited")
    assert lab.inspect("short")["State"]["ExitCode"] == 23
    lab.hawse("rm", "short")


def test_a_foreground_run_goes_on_when_the_daemon_ends(lab: Lab) -> None:
    """The bytes go from the shim to the client; the daemon is not on their way."""
    script = "echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two"
    process = lab.popen(["hawse", "run", "-i", "--name", "talk", "busybox", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"one\n"
        lab.daemon.kill9()
        lab.daemon.start()
        lab.hawse("exec", "-d", "talk", "touch", "/go")
        assert process.stdout.readline() == b"two\n"
    process.wait(PATIENCE)
    lab.hawse("wait", "talk")
    lab.hawse("rm", "talk")


def test_stop_all_stops_them(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.daemon.start("--stop-all")
    lab.hawse("image", "import", busybox_tar(), "busybox")
    script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", script)
    eventually(lambda: lab.hawse("logs", "box").out == "up\n")
    lab.daemon.terminate()
    assert not [c for *_, c in everybody(lab.world) if "trap" in c]
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Status"] == "exited"


def test_a_second_daemon_on_the_same_directory_is_refused(lab: Lab) -> None:
    shown = lab.run(["hawse", "daemon"], check=False)
    assert shown.code == 1
    assert "another hawse daemon" in shown.out + shown.err
    assert lab.daemon.answers(), "the first one is not disturbed"


def test_two_daemons_live_side_by_side(lab: Lab) -> None:
    other = lab.instance[:3]  # no lab has so short a name
    env = {
        "HAWSE_INSTANCE": other,
        "HAWSE_ROOT": str(lab.state / "second"),
        "HAWSE_RUN_DIR": "/run/hawse-zz",
        "HAWSE_HOST": "unix:///run/hawse-zz/hawse.sock",
    }
    before = links(lab.world), ruleset(lab.world)
    second = lab.popen(["hawse", "daemon"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: lab.hawse("version", env=env))
        lab.hawse("image", "import", busybox_tar(), "busybox", env=env)
        lab.hawse("run", "-d", "--name", "same", "-p", "8090:80", "busybox", *HTTPD, env=env)
        lab.hawse("run", "-d", "--name", "same", "-p", "8091:80", "busybox", *HTTPD)
        for port in (8090, 8091):
            assert eventually(lambda p=port: lab.client.get(HOST, p, "/index.html"))  # type: ignore[misc]
        assert lab.hawse("ps", "-q").out != lab.hawse("ps", "-q", env=env).out
        lab.hawse("rm", "-f", "same")
        assert lab.client.get(HOST, 8090, "/index.html"), "the other one's container is not touched"
        lab.hawse("rm", "-f", "same", env=env)
    finally:
        second.terminate()
        second.wait(PATIENCE)
    lab.run(["rm", "-rf", f"{lab.state}/second", "/run/hawse-zz"])
    for line in links(lab.world) - before[0]:
        lab.run(["ip", "link", "del", line.split()[0]])  # its default network's bridge stays, as ours does
    if ruleset(lab.world) != before[1]:
        lab.run(["nft", "delete", "table", "inet", f"hawse_{other}"])
    remove_cgroups(f"hawse_{other}")


def test_the_command_line_starts_a_daemon_and_says_so(bare_lab: Lab) -> None:
    shown = bare_lab.hawse("ps", env={"HAWSE_AUTOSTART": "1"})
    assert shown.out.startswith("CONTAINER ID")
    assert len(shown.err.splitlines()) == 1 and "started the daemon" in shown.err
    assert bare_lab.daemon.answers()
    again = bare_lab.hawse("ps", env={"HAWSE_AUTOSTART": "1"})
    assert again.err == ""


def test_autostart_can_be_turned_off(bare_lab: Lab) -> None:
    assert bare_lab.hawse("--no-autostart", "ps", env={"HAWSE_AUTOSTART": "1"}, check=False).code == 1
    assert not bare_lab.daemon.answers()


def test_bad_configuration_names_the_key(bare_lab: Lab) -> None:
    (bare_lab.state / "hawse.toml").write_text("adress_pools = []\n")
    shown = bare_lab.run(["hawse", "daemon"], check=False)
    assert shown.code == 2
    assert "adress_pools" in shown.err and "address_pools" in shown.err


def test_the_daemon_logs_json_when_nobody_watches(lab: Lab) -> None:
    first = lab.daemon.log.splitlines()[0]
    assert first.startswith("{") and first.endswith("}")


def test_a_healthy_life_leaves_no_error_in_the_log(lab: Lab) -> None:
    start = len(lab.daemon.log)
    lab.hawse("run", "--rm", "-p", "8085:80", "busybox", "true")
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "100")
    lab.hawse("rm", "-f", "box")
    assert "error" not in lab.daemon.log[start:].lower()
