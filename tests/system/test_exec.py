"""`hawse exec`: inside the same container, with its own streams, user, environment and exit code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually


@pytest.fixture
def box(lab: Lab) -> Iterator[str]:
    lab.hawse("run", "-d", "--name", "box", "-e", "FROM=config", "busybox", "sleep", "1000")
    yield "box"
    lab.hawse("rm", "-f", "box")


@pytest.mark.parametrize(
    ("program", "code"),
    [(["true"], 0), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -9 $$"], 137), (["nope"], 127), (["/etc"], 126)],
)
def test_the_exit_code_is_the_programs(lab: Lab, box: str, program: list[str], code: int) -> None:
    assert lab.hawse("exec", box, *program, check=False).code == code


def test_streams_and_stdin(lab: Lab, box: str) -> None:
    data = os.urandom(500_000)
    shown = lab.hawse("exec", "-i", box, "sh", "-c", "cat; echo err >&2", input=data)
    assert (shown.stdout, shown.stderr) == (data, b"err\n")


def test_without_i_stdin_is_empty(lab: Lab, box: str) -> None:
    assert lab.hawse("exec", box, "cat", input=b"no").stdout == b""


def test_it_is_in_the_same_namespaces_and_cgroup(lab: Lab, box: str) -> None:
    for kind in ("mnt", "net", "pid", "uts", "ipc", "user", "cgroup"):
        shown = lab.hawse("exec", box, "sh", "-c", f"readlink /proc/self/ns/{kind}; readlink /proc/1/ns/{kind}").out
        own = shown.split()
        assert own[0] == own[1]
    groups = lab.hawse("exec", box, "sh", "-c", "cat /proc/self/cgroup; echo; cat /proc/1/cgroup").out.split("\n\n")
    assert groups[0].strip() == groups[1].strip()


def test_it_has_no_more_rights_than_the_container(lab: Lab, box: str) -> None:
    keys = "CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp:"
    own, first = (
        lab.hawse("exec", box, "sh", "-c", f"grep -E '{keys}' /proc/{who}/status; true").out for who in ("self", "1")
    )
    assert own == first


def test_user_environment_and_directory(lab: Lab, box: str) -> None:
    script = "id -u; id -g; pwd; echo $FROM $ADDED"
    shown = lab.hawse("exec", "-u", "app", "-w", "/tmp", "-e", "ADDED=here", box, "sh", "-c", script)
    assert shown.out.split() == ["1000", "1000", "/tmp", "config", "here"]


def test_a_terminal(lab: Lab, box: str) -> None:
    with lab.pty(["hawse", "exec", "-it", box, "sh"]) as terminal:
        terminal.expect("/ # ")
        terminal.type("stty size; tty\n")
        terminal.expect("24 80")
        terminal.expect("/dev/pts/")
        terminal.type("exit 7\n")
        assert terminal.wait() == 7
        assert terminal.settings() == terminal.untouched


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_a_terminal_has_its_size_before_the_program_runs(lab: Lab, box: str, verb: str) -> None:
    where = [box] if verb == "exec" else ["--rm", "busybox"]
    with lab.pty(["hawse", verb, "-it", *where, "stty", "size"]) as terminal:
        assert terminal.wait() == 0
        assert terminal.seen.strip() == b"24 80"


def test_detached_exec_goes_on_alone(lab: Lab, box: str) -> None:
    assert lab.hawse("exec", "-d", box, "sh", "-c", "sleep 0.1; echo done > /done").out == ""
    eventually(lambda: lab.hawse("exec", box, "cat", "/done", check=False).out == "done\n")


def test_it_ends_with_the_container(lab: Lab, box: str) -> None:
    process = lab.popen(["hawse", "exec", box, "sh", "-c", "echo up; sleep 1000"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
        lab.hawse("kill", box)
        assert process.stdout.read() == b""
    assert process.wait(PATIENCE) == 137


def test_on_a_stopped_container_it_is_an_error(lab: Lab) -> None:
    lab.hawse("run", "--name", "over", "busybox", "true")
    refused = lab.hawse("exec", "over", "true", check=False)
    assert refused.code == 1
    assert "is not running" in refused.err
    lab.hawse("rm", "over")


def test_many_at_once(lab: Lab, box: str) -> None:
    processes = [
        lab.popen(["hawse", "exec", box, "sh", "-c", f"echo {n}; exit {n}"], stdout=subprocess.PIPE) for n in range(20)
    ]
    for n, process in enumerate(processes):
        out, _ = process.communicate(timeout=PATIENCE)
        assert (out, process.returncode) == (b"%d\n" % n, n)


def test_an_exec_is_reaped_by_whoever_started_it(lab: Lab, box: str) -> None:
    """Its parent is outside: also where PID 1 reaps nothing, as sleep does, no zombie stays."""
    for _ in range(3):
        lab.hawse("exec", box, "true")
    shown = lab.hawse("exec", box, "sh", "-c", "grep -h ^State: /proc/[0-9]*/status; true").out
    assert shown.count("State:") >= 2
    assert "zombie" not in shown
