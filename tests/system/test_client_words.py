"""What scripts and docker's clients meet: where they branch on a state, a status or a phrase, it is docker's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def box(lab: Lab) -> Iterator[Lab]:
    """The test's container is named `box`."""
    yield lab
    lab.hawse("rm", "-f", "-v", "box", check=False)


def asked(lab: Lab, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer = lab.daemon.request(method, path, body)
    return status, json.loads(answer) if answer else None


def test_a_kill_is_answered_when_it_has_ended(box: Lab) -> None:
    """So that `kill` and then `rm`, or a look at its state, mean what they say."""
    for _ in range(20):
        box.hawse("run", "-d", "--name", "box", *SLEEP)
        assert asked(box, "POST", "/containers/box/kill") == (204, None)
        _, shown = asked(box, "GET", "/containers/box/json")  # at once: the command line would come too late
        assert (shown["State"]["Status"], shown["State"]["ExitCode"]) == ("exited", 137)
        assert asked(box, "DELETE", "/containers/box") == (204, None)


def test_a_kill_by_another_signal_waits_for_nothing(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    assert asked(box, "POST", "/containers/box/kill?signal=TERM") == (204, None)
    assert box.inspect("box")["State"]["Running"]


def test_what_waits_for_its_restart_counts_as_running(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "--restart", "always", "busybox", "false")

    def waits() -> bool:
        shown = box.inspect("box")
        return bool(shown["RestartCount"] >= 5 and shown["State"]["Status"] == "restarting")  # for seconds, by then

    eventually(waits)
    identity = box.inspect("box")["Id"]
    status, answer = asked(box, "DELETE", "/containers/box")
    assert (status, answer["message"]) == (
        409,
        'cannot remove container "/box": container is restarting: stop the container before removing or force remove',
    )
    waiting = f"Container {identity} is restarting, wait until the container is running"
    for method, path in (("POST", "exec"), ("POST", "pause"), ("GET", "top")):
        status, answer = asked(box, method, f"/containers/box/{path}", {"Cmd": ["true"]})
        assert (status, answer["message"]) == (409, waiting), path
    assert asked(box, "DELETE", "/containers/box?force=1") == (204, None)


def test_a_paused_one_has_to_be_unpaused_before_it_is_stopped_and_removed(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", *SLEEP)
    box.hawse("pause", "box")
    assert "unpause and then stop the container" in asked(box, "DELETE", "/containers/box")[1]["message"]


def test_health_is_still_told_after_the_end(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "--health-cmd", "echo looked", "--health-interval", "100ms", *SLEEP)
    eventually(lambda: box.inspect("box")["State"]["Health"]["Status"] == "healthy")
    box.hawse("stop", "-t", "0", "box")
    health = box.inspect("box")["State"]["Health"]
    assert health["Status"] == "unhealthy", "as docker says of what nobody checks any more"
    assert health["Log"][-1]["Output"] == "looked\n"
    assert box.hawse("ps", "-aq", "--filter", "health=unhealthy").out


@pytest.mark.parametrize(("mode", "told"), [("none", ""), ("host", "Published ports are discarded")])
def test_ports_of_what_has_no_network_of_its_own_are_not_published(box: Lab, mode: str, told: str) -> None:
    """Nor are they held: the program itself may want one of the host's."""
    shown = box.hawse("run", "-d", "--name", "box", "-p", "8080:80", "--network", mode, *SLEEP)
    assert (told in shown.err) and bool(told) == bool(shown.err)
    listener = "import socket; s = socket.socket(); s.bind(('0.0.0.0', 8080)); s.listen()"
    assert box.run(["python3", "-c", listener]).code == 0
    assert box.inspect("box")["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert box.inspect("box")["NetworkSettings"]["Ports"] == {}


def test_links_on_the_default_network_are_lines_of_the_hosts_file(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "db", "--hostname", "store", *SLEEP)
    try:
        lines = box.hawse("run", "--rm", "--link", "db:alias", "busybox", "cat", "/etc/hosts").out.splitlines()
        assert f"{box.address('db', 'bridge')}\talias store db" in lines
        assert box.hawse("run", "--rm", "--link", "db", "busybox", "ping", "-c1", "db").code == 0
        shown = box.hawse("run", "--link", "nobody:x", *SLEEP, check=False)
        assert shown.code == 125 and "could not get container for nobody" in shown.err
        box.hawse("stop", "-t", "0", "db")
        shown = box.hawse("run", "--rm", "--name", "box", "--link", "db:alias", *SLEEP, check=False)
        assert shown.code == 125 and "Cannot link to a non running container: /db AS /box/alias" in shown.err
    finally:
        box.hawse("rm", "-f", "db")


def test_links_on_a_network_of_one_s_own_are_names_for_the_asker_alone(box: Lab) -> None:
    """Docker-compose sends them for `run` and for `links:`, in both places of a request."""
    box.hawse("network", "create", "my net")  # docker takes spaces, and so do its users
    box.hawse("run", "-d", "--name", "db", "--network", "my net", *SLEEP)
    try:
        box.hawse("run", "-d", "--name", "box", "--network", "my net", "--link", "db:alias", *SLEEP)
        address = box.address("db", "my net")
        assert address in box.hawse("exec", "box", "nslookup", "alias").out
        assert box.hawse("exec", "db", "nslookup", "alias", check=False).code
        assert box.inspect("box")["NetworkSettings"]["Networks"]["my net"]["Links"] == ["db:alias"]
    finally:
        box.hawse("rm", "-f", "db", "box")
        box.hawse("network", "rm", "my net")


def test_hosts_that_are_added_in_both_forms(box: Lab) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["cat", "/etc/hosts"],
        "HostConfig": {"ExtraHosts": ["a=10.1.2.3", "b:10.1.2.4"]},
    }
    assert asked(box, "POST", "/containers/create?name=box", body)[0] == 201
    box.hawse("start", "-a", "box")
    lines = box.hawse("logs", "box").out.splitlines()
    assert "10.1.2.3\ta" in lines and "10.1.2.4\tb" in lines


def test_a_missing_network_is_no_missing_image(box: Lab) -> None:
    for mode, said in (
        ("nonesuch", "network nonesuch not found"),
        ("container:nonesuch", "No such container: nonesuch"),
    ):
        body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": mode}}
        status, answer = asked(box, "POST", "/containers/create", body)
        assert status == 400 and said in answer["message"]


def test_a_variable_that_is_named_and_not_set_is_taken_away(box: Lab) -> None:
    box.hawse("image", "import", "-c", "ENV MADE_UP=theirs", busybox_tar(), "withenv")
    try:
        shown = box.hawse("run", "--rm", "-e", "MADE_UP", "withenv", "sh", "-c", "echo ${MADE_UP-none}")
        assert shown.out == "none\n"
    finally:
        box.hawse("rmi", "withenv")


def test_an_argument_that_is_no_text_is_named(box: Lab) -> None:
    shown = box.hawse("run", "--rm", "busybox", "echo", "\udcff", check=False)
    assert shown.code == 125 and "invalid Cmd[1]" in shown.err


def test_top_tells_a_name_from_a_command_line(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", *SLEEP)
    _, shown = asked(box, "GET", "/containers/box/top?ps_args=-o%20comm,args")
    assert shown == {"Titles": ["COMMAND", "COMMAND"], "Processes": [["sleep", "sleep 1000"]]}


def test_an_unknown_log_driver_is_refused(box: Lab) -> None:
    shown = box.hawse("run", "--rm", "--log-driver", "bogus", "busybox", "true", check=False)
    assert shown.code == 125 and "logger: no log driver named 'bogus' is registered" in shown.err


def test_an_exec_with_a_terminal_is_framed_when_its_start_names_none(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", *SLEEP)
    _, made = asked(box, "POST", "/containers/box/exec", {"Cmd": ["echo", "hi"], "AttachStdout": True, "Tty": True})
    _, said = box.daemon.request("POST", f"/exec/{made['Id']}/start", {})
    assert said == b"\x01\0\0\0\0\0\0\x04hi\r\n"


def test_an_oom_kill_of_a_child_and_the_score_of_an_exec(box: Lab) -> None:
    box.hawse(
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "16m",
        "--oom-score-adj",
        "500",
        "busybox",
        "sh",
        "-c",
        "tail /dev/zero; exit 3",
    )
    assert box.hawse("wait", "box").out == "3\n"
    assert box.inspect("box")["State"]["OOMKilled"]
    box.hawse("rm", "box")
    box.hawse("run", "-d", "--name", "box", "--oom-score-adj", "500", *SLEEP)
    assert box.hawse("exec", "box", "cat", "/proc/self/oom_score_adj").out == "500\n"
    box.hawse("rm", "-f", "box")
    box.hawse("run", "-d", "--name", "box", "-m", "32m", *SLEEP)
    assert box.inspect("box")["HostConfig"]["MemorySwap"] == 64 << 20
