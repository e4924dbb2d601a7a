"""`hawse run`: exit codes, streams, signals, terminals, environment, users, names."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import termios

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.snapshot import everybody
from hawse.cli.selftest.waiting import PATIENCE, eventually


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$; exit 3"], 3),  # pid 1 is immune to signals from inside
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (["no-such-program"], 127),
        (["/no/such/path"], 127),
        (["/etc/not-a-program"], 126),
        (["/etc"], 126),
    ],
)
def test_the_exit_code_is_the_programs(lab: Lab, program: list[str], code: int) -> None:
    assert lab.hawse("run", "--rm", "busybox", *program, check=False).code == code


def test_the_messages_of_what_cannot_be_executed(lab: Lab) -> None:
    missing = lab.hawse("run", "--rm", "busybox", "no-such-program", check=False).err
    assert "no-such-program" in missing and "executable file not found in $PATH" in missing
    denied = lab.hawse("run", "--rm", "busybox", "/etc/not-a-program", check=False).err
    assert "/etc/not-a-program" in denied and "permission denied" in denied


def test_stdout_and_stderr_stay_apart_and_whole(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybox", "sh", "-c", "printf 'out\\377\\000'; printf 'err\\n' >&2")
    assert shown.stdout == b"out\xff\x00"
    assert shown.stderr == b"err\n"


def test_stdin_is_piped_and_its_end_is_seen(lab: Lab) -> None:
    data = os.urandom(3_000_000)
    shown = lab.hawse("run", "--rm", "-i", "busybox", "sha256sum", input=data)
    assert shown.out.split()[0] == hashlib.sha256(data).hexdigest()


def test_stdin_comes_back_byte_for_byte(lab: Lab) -> None:
    data = os.urandom(1_000_000)
    assert lab.hawse("run", "--rm", "-i", "busybox", "cat", input=data).stdout == data


def test_without_i_stdin_is_empty(lab: Lab) -> None:
    assert lab.hawse("run", "--rm", "busybox", "cat", input=b"not for you").stdout == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_foreground_run_forwards_signals(lab: Lab, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = lab.popen(["hawse", "run", "--rm", "busybox", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {name}\n".encode()
    assert process.wait(PATIENCE) == 9


def test_killed_from_outside_is_128_and_the_signal(lab: Lab) -> None:
    process = lab.popen(
        ["hawse", "run", "--name", "victim", "busybox", "sh", "-c", "echo ready; sleep 100"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        lab.hawse("kill", "victim")
        assert process.wait(PATIENCE) == 137
    assert lab.inspect("victim")["State"]["ExitCode"] == 137
    lab.hawse("rm", "victim")


def test_a_terminal_is_one(lab: Lab) -> None:
    with lab.pty(["hawse", "run", "-it", "--rm", "busybox", "sh"]) as terminal:
        before = terminal.settings()
        terminal.expect("/ # ")
        assert terminal.settings() != before, "raw while it runs"
        terminal.type("tty; stty size\n")
        terminal.expect("/dev/pts/0")
        terminal.expect("24 80")
        terminal.resize(50, 132)
        terminal.expect("/ # ")

        def grown() -> bool:
            terminal.type("stty size\n")
            return "50 132" in terminal.expect("/ # ")

        eventually(grown)
        terminal.type("sleep 100\n")
        eventually(lambda: any(command.startswith("sleep") for *_, command in everybody(lab.world)))
        terminal.type("\x03")
        terminal.expect("/ # ")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5
        assert terminal.settings() == before


def test_the_terminal_is_restored_when_the_command_line_is_ended(lab: Lab) -> None:
    with lab.pty(["hawse", "run", "-it", "--name", "left", "busybox", "sh"]) as terminal:
        before = terminal.settings()
        terminal.expect("/ # ")
        eventually(lambda: not terminal.settings()[3] & termios.ICANON)
        terminal.process.send_signal(signal.SIGTERM)
        terminal.wait()
        assert terminal.settings() == before
    lab.hawse("rm", "-f", "left")


def test_ctrl_p_ctrl_q_leaves_it_running(lab: Lab) -> None:
    with lab.pty(["hawse", "run", "-it", "--name", "shell", "busybox", "sh"]) as terminal:
        terminal.expect("/ # ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert lab.inspect("shell")["State"]["Running"]
    lab.hawse("rm", "-f", "shell")


def test_detached_prints_the_id_and_returns(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "busybox", "sleep", "100").out.strip()
    assert lab.inspect(identifier)["Id"] == identifier
    assert lab.inspect(identifier[:8])["State"]["Status"] == "running"
    lab.hawse("rm", "-f", identifier)


def test_without_rm_the_container_stays_and_starts_again(lab: Lab) -> None:
    lab.hawse("run", "--name", "once", "busybox", "sh", "-c", "echo x >> /count; wc -l < /count")
    assert lab.hawse("start", "-a", "once").out.strip() == "2", "its files are kept between starts"
    state = lab.inspect("once")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    lab.hawse("rm", "once")


def test_environment_is_the_containers_own(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "--hostname", "box", "-e", "A=b c", "-e", "EMPTY=", "busybox", "env").out
    assert dict(line.split("=", 1) for line in shown.splitlines()) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": "box",
        "HOME": "/root",
        "A": "b c",
        "EMPTY": "",
    }


def test_e_without_a_value_takes_the_callers(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "-e", "GIVEN", "-e", "ABSENT", "busybox", "env", env={"GIVEN": "yes"}).out
    assert "GIVEN=yes\n" in shown
    assert "ABSENT" not in shown


def test_working_directory(lab: Lab) -> None:
    assert lab.hawse("run", "--rm", "-w", "/made/up", "busybox", "pwd").out == "/made/up\n"


def test_hostname(lab: Lab) -> None:
    assert lab.hawse("run", "--rm", "--hostname", "my-box", "busybox", "hostname").out == "my-box\n"
    identifier = lab.hawse("run", "-d", "busybox", "sleep", "100").out.strip()
    assert lab.hawse("exec", identifier, "hostname").out.strip() == identifier[:12]
    lab.hawse("rm", "-f", identifier)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("", "uid=0(root) gid=0(root)"),
        ("app", "uid=1000(app) gid=1000(app) groups=50(staff),1000(app)"),
        ("1000", "uid=1000(app) gid=1000(app)"),
        ("1000:50", "uid=1000(app) gid=50(staff)"),
        ("nobody:app", "uid=65534(nobody) gid=1000(app)"),
        ("4321:8765", "uid=4321 gid=8765"),
    ],
)
def test_users(lab: Lab, user: str, shown: str) -> None:
    flags = ["-u", user] if user else []
    assert (
        lab.hawse("run", "--rm", *flags, "busybox", "id").out.strip().removesuffix(" groups=0(root)").startswith(shown)
    )


def test_home_follows_the_user(lab: Lab) -> None:
    assert lab.hawse("run", "--rm", "-u", "app", "busybox", "sh", "-c", "echo $HOME").out == "/home/app\n"


def test_a_name_is_free_again_at_once(lab: Lab) -> None:
    for _ in range(5):
        assert lab.hawse("run", "--rm", "--name", "again", "busybox", "echo", "x").out == "x\n"


def test_rm_removes_it(lab: Lab) -> None:
    lab.hawse("run", "--rm", "--name", "gone", "busybox", "true")
    eventually(lambda: "gone" not in lab.hawse("ps", "-a").out)


def test_orphans_of_the_program_are_reaped_with_it(lab: Lab) -> None:
    lab.hawse("run", "--rm", "busybox", "sh", "-c", "sleep 100 & sleep 100 & exit 0")
    eventually(lambda: not any("sleep" in command for *_, command in everybody(lab.world)))
