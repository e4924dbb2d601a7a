"""Each flag of `run`, seen from inside the container or in the kernel's and the host's files."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

SHOWN_INSIDE = [
    (("-e", "AAA=b=c", "-e", "PASSED", "-e", "NOT_SET"), "env", r"(?ms)(?=.*^AAA=b=c$)(?=.*^PASSED=on$)(?!.*NOT_SET)"),
    (("--env-file", "env", "-e", "TWO=mine"), "env", r"(?ms)(?=.*^ONE=1 and more$)(?=.*^TWO=mine$)(?=.*^PASSED=on$)(?!.*#)"),
    (("--entrypoint", "echo"), "said", r"^said$"),
    (("--tmpfs", "/scratch:size=64k,mode=700"), "grep /scratch /proc/mounts", r"tmpfs .*size=64k,.*mode=700"),
    (("--tmpfs", "/scratch:exec,suid,size=8m"), "cp /bin/busybox /scratch/echo; /scratch/echo ran; grep /scratch /proc/mounts",
     r"^ran\ntmpfs /scratch tmpfs rw,nodev,relatime"),
    (("--mount", "type=tmpfs,target=/scratch,tmpfs-size=65536"), "grep /scratch /proc/mounts", r"tmpfs .*size=64k"),
    (("--mount", "type=bind,source={share},target=/there,readonly"), "cat /there/env; touch /there/new || echo no",
     r"(?s)ONE=1.*no"),
    (("--mount", "type=volume,target=/there"), "grep ' /there ' /proc/mounts", r" rw"),
    (("--read-only",), "touch /new || echo refused; touch /dev/shm/new && echo shm", r"refused\nshm"),
    (("--mac-address", "02:42:ac:11:aa:bb"), "cat /sys/class/net/eth0/address", r"^02:42:ac:11:aa:bb$"),
    (("--add-host", "far:192.0.2.9", "--add-host", "here:host-gateway"), "cat /etc/hosts", r"(?s)192\.0\.2\.9\tfar.*\d\there"),
    (("--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-option", "timeout:1"), "cat /etc/resolv.conf",
     r"^search example.org\nnameserver 192.0.2.53\noptions timeout:1$"),
    (("--hostname", "me", "--domainname", "example.org"), "hostname; cat /proc/sys/kernel/domainname", r"me\nexample.org"),
    (("--init",), "cat /proc/1/comm; ps -o pid,comm", r"(?s)init.*\b[2-9]"),
    (("--ulimit", "nofile=99:123", "--ulimit", "core=0"), "ulimit -Sn; ulimit -Hn; ulimit -c", r"^99\n123\n0$"),
    (("--sysctl", "net.ipv4.ip_unprivileged_port_start=77"), "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "^77$"),
    (("--sysctl", "kernel.shmmax=12345678"), "cat /proc/sys/kernel/shmmax", "^12345678$"),
    (("--shm-size", "128k"), "grep /dev/shm /proc/mounts", r"size=128k"),
    (("--oom-score-adj", "321"), "cat /proc/self/oom_score_adj", "^321$"),
    (("--device", "/dev/zero:/dev/nought"), "head -c 3 /dev/nought | od -An -tx1", "00 00 00"),
    (("--group-add", "54321"), "id -G", r"\b54321\b"),
    (("--user", "65534:100", "--workdir", "/not/there"), "id -u; id -g; pwd", r"^65534\n100\n/not/there$"),
    (("--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"),
     "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status", r"^NoNewPrivs:\s0\nSeccomp:\s0$"),
    (("--privileged",), "grep -E 'CapEff|Seccomp:' /proc/self/status; grep -c ' /proc/sys ' /proc/mounts; true",
     r"^CapEff:\s0*[13]ff[0-9a-f]{7,}\nSeccomp:\s0\n0$"),
    (("-a", "stdout"), "echo out; echo err >&2", "^out$"),
    (("--pull", "never"), "echo there", "there"),
    (("--pull", "missing"), "echo there", "there"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "command", "pattern"), SHOWN_INSIDE, ids=[" ".join(f) for f, _, _ in SHOWN_INSIDE])
def test_inside(lab: Lab, flags: tuple[str, ...], command: str, pattern: str) -> None:
    (lab.share / "env").write_text("# comment\nONE=1 and more\nTWO=2\nPASSED\n\n")
    given = [flag.format(share=lab.share) for flag in flags]
    argv = [command] if "--entrypoint" in flags else ["sh", "-c", command]
    shown = lab.hawse("run", "--rm", *given, "busybox", *argv, env={"PASSED": "on"}, cwd=lab.share)
    assert re.search(pattern, shown.out.strip()), shown
    (lab.share / "env").unlink()


def test_attached_to_stderr_alone(lab: Lab) -> None:
    """What is not attached to is in the log nevertheless."""
    shown = lab.hawse("run", "--name", "app", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (shown.out, shown.err) == ("", "err\n")
    assert (lab.hawse("logs", "app").out, lab.hawse("logs", "app").err) == ("out\n", "err\n")
    lab.hawse("rm", "app")
    lab.hawse("create", "--name", "app", "-i", "-a", "stdin", "-a", "stdout", "busybox", "cat")
    assert lab.hawse("start", "-ai", "app", input=b"typed").out == "typed"
    lab.hawse("rm", "app")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--oom-kill-disable",), "OOM killer is disabled for the container, but no memory limit is set"),
        (("--log-driver", "syslog", "--log-opt", "syslog-address=udp://a"), "log driver 'syslog' is not supported"),
    ],
)
def test_what_is_left_out_is_said(lab: Lab, flags: tuple[str, ...], said: str) -> None:
    shown = lab.hawse("run", "--rm", *flags, "busybox", "echo", "ran")
    assert shown.out == "ran\n" and "WARNING" in shown.err and said in shown.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--runtime", "kata"), "unknown or invalid runtime name: kata"),
        (("--pid", "host"), "does not support sharing the pid namespace"),
        (("--ipc", "host"), "does not support sharing the ipc namespace"),
        (("--uts", "host"), "does not support sharing the uts namespace"),
        (("--cgroupns", "host"), "does not support sharing the cgroup namespace"),
        (("--isolation", "hyperv"), "does not support this isolation technology"),
        (("--cgroup-parent", "/of/mine"), "all containers are below one cgroup"),
        (("--volumes-from", "other"), "HostConfig.VolumesFrom"),
    ],
)
def test_what_would_change_the_program_s_view_is_refused(lab: Lab, flags: tuple[str, ...], said: str) -> None:
    refused = lab.hawse("run", "--rm", *flags, "busybox", "true", check=False)
    assert refused.code == 125 and said in refused.err and lab.hawse("ps", "-aq").out == ""


@pytest.fixture
def app(lab: Lab) -> Iterator[str]:
    """The name of a test's container."""
    yield "app"
    lab.hawse("rm", "-f", "app")


def start(lab: Lab, *flags: str, program: tuple[str, ...] = ("sleep", "1000")) -> None:
    lab.hawse("run", "-d", "--name", "app", *flags, "busybox", *program, cwd=lab.share)


def test_labels_and_label_file(lab: Lab, app: str) -> None:
    (lab.share / "labels").write_text("# comment\nfrom=file\nboth=file\n")
    start(lab, "--label-file", "labels", "-l", "both=flag", "-l", "empty")
    assert lab.inspect(app)["Config"]["Labels"] == {"from": "file", "both": "flag", "empty": ""}
    (lab.share / "labels").unlink()


def test_cidfile(lab: Lab, app: str) -> None:
    start(lab, "--cidfile", "cid")
    assert (lab.share / "cid").read_text() == lab.inspect(app)["Id"]
    again = lab.hawse("run", "--rm", "--cidfile", "cid", "busybox", "true", check=False, cwd=lab.share)
    assert again.code == 125 and "cid" in again.err
    (lab.share / "cid").unlink()


def test_publish_all_and_ranges(lab: Lab, app: str) -> None:
    start(lab, "-P", "--expose", "80", "--expose", "7000-7001/udp", program=("httpd", "-f", "-p", "80", "-h", "/www"))
    ports = lab.inspect(app)["NetworkSettings"]["Ports"]
    assert set(ports) == {"80/tcp", "7000/udp", "7001/udp"}
    chosen = int(ports["80/tcp"][0]["HostPort"])
    eventually(lambda: lab.client.get(HOST, chosen) == b"hello from busybox\n")


def test_a_range_of_host_ports_for_one_of_the_container(lab: Lab, app: str) -> None:
    """The first free one of them is taken."""
    with lab.host.listen(18200):
        start(lab, "-p", "18200-18202:80", program=("httpd", "-f", "-p", "80", "-h", "/www"))
    chosen = int(lab.inspect(app)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    assert chosen in (18201, 18202)
    eventually(lambda: lab.client.get(HOST, chosen) == b"hello from busybox\n")


def test_ranges_of_equal_length(lab: Lab, app: str) -> None:
    start(lab, "-p", "18300-18301:80-81", program=("httpd", "-f", "-p", "81", "-h", "/www"))
    eventually(lambda: lab.client.get(HOST, 18301) == b"hello from busybox\n")
    unequal = lab.hawse("run", "--rm", "-p", "18300-18302:80-81", "busybox", "true", check=False)
    assert unequal.code == 125


def test_stop_signal_and_timeout(lab: Lab, app: str) -> None:
    program = ("sh", "-c", "trap 'exit 7' USR1; trap '' TERM; echo up; while :; do sleep 0.02; done")
    start(lab, "--stop-signal", "SIGUSR1", program=program)
    eventually(lambda: lab.hawse("logs", app).out == "up\n")
    lab.hawse("stop", app)
    assert lab.inspect(app)["State"]["ExitCode"] == 7
    lab.hawse("rm", app)
    start(lab, "--stop-timeout", "0", program=program)
    eventually(lambda: lab.hawse("logs", app).out == "up\n")
    lab.hawse("stop", app)
    assert lab.inspect(app)["State"]["ExitCode"] == 128 + signal.SIGKILL


def test_network_of_another_container(lab: Lab, app: str) -> None:
    start(lab, "--hostname", "landlord")
    inside = ("ip", "-o", "-4", "addr", "show", "eth0")
    assert lab.hawse("run", "--rm", "--network", f"container:{app}", "busybox", *inside).out == (
        lab.hawse("exec", app, *inside).out
    )


def test_pull_never_without_the_image(lab: Lab) -> None:
    missing = lab.hawse("run", "--rm", "--pull", "never", "no-such-image", "true", check=False)
    assert missing.code == 125 and "no-such-image" in missing.err


def test_sig_proxy(lab: Lab, app: str) -> None:
    """A signal to the client goes to the program, or with --sig-proxy=false it ends the client alone."""
    program = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.02; done"
    for flag, code in (("--sig-proxy=true", 9), ("--sig-proxy=false", -signal.SIGTERM)):
        client = lab.popen(["hawse", "run", "--name", app, flag, "busybox", "sh", "-c", program])
        eventually(lambda: lab.hawse("logs", app, check=False).out == "up\n")
        client.send_signal(signal.SIGTERM)
        assert client.wait(PATIENCE) == code
        assert lab.inspect(app)["State"]["Running"] is (code != 9)
        lab.hawse("rm", "-f", app)
    start(lab)


def test_detach_keys(lab: Lab, app: str) -> None:
    argv = [
        "hawse",
        "run",
        "-it",
        "--name",
        app,
        "--detach-keys",
        "ctrl-x,q",
        "busybox",
        "sh",
        "-c",
        "echo up; exec cat",
    ]
    with lab.pty(argv) as terminal:
        terminal.expect("up")
        terminal.type("\x18q")
        assert terminal.wait() == 0
    assert lab.inspect(app)["State"]["Running"]
