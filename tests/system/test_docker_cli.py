"""The docker command line, which we did not write, against hawse: flags, output and exit codes as its users know them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.terminal import Terminal
from hawse.cli.selftest.waiting import PATIENCE, eventually
from hawse.cli.selftest.world import Result
from tests.system.cgroups import setting

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")


class Docker:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.env = {"DOCKER_HOST": lab.env["HAWSE_HOST"], "DOCKER_CONFIG": str(lab.share)}

    def __call__(self, *args: str | Path, input: bytes | None = None, check: bool = True) -> Result:
        return self.lab.run(["docker", *args], input=input, check=check, env=self.env)

    def popen(self, *args: str) -> subprocess.Popen[bytes]:
        return self.lab.popen(
            ["docker", *args], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture
def docker(lab: Lab) -> Docker:
    return Docker(lab)


@pytest.fixture
def web(docker: Docker) -> Iterator[str]:
    """A web server on a network of its own, published."""
    docker("network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")
    script = "mkdir -p /w; echo page > /w/index.html; echo up; exec httpd -f -p 80 -h /w"
    docker("run", "-d", "--name", "web", "--net", "testbr", "-p", "8080:80", "-l", "a=b", "busybox", "sh", "-c", script)
    eventually(lambda: docker("logs", "web").out == "up\n")
    yield "web"
    docker("rm", "-f", "web", "web2", check=False)
    docker("network", "rm", "testbr")


def test_version_is_negotiated(docker: Docker) -> None:
    shown = json.loads(docker("version", "--format", "{{json .}}").out)
    assert shown["Server"]["ApiVersion"] == "1.47" and shown["Client"]["ApiVersion"] == "1.47"
    assert shown["Server"]["Platform"]["Name"] == "hawse"


@pytest.mark.parametrize(
    ("program", "code"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["nope"], 127), (["/etc"], 126)],
)
def test_run_returns_the_program_s_code(docker: Docker, program: list[str], code: int) -> None:
    assert docker("run", "--rm", "busybox", *program, check=False).code == code


def test_run_streams(docker: Docker) -> None:
    data = os.urandom(1 << 20)
    shown = docker("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2", input=data)
    assert (shown.stdout, shown.stderr) == (data, b"err\n")


def test_run_on_a_terminal(docker: Docker, lab: Lab) -> None:
    with lab.pty(["docker", "run", "--rm", "-it", "busybox", "sh"], env=docker.env) as terminal:
        terminal.expect("# ")

        def resized() -> bool:
            """The docker CLI misses a change that comes before it has begun to listen for them: change it again."""
            terminal.resize(34, 78)
            terminal.resize(33, 77)
            return _typed(terminal, "stty size\n", "33 77")

        eventually(resized, interval=0.1)
        terminal.type("exit 5\n")
        assert terminal.wait() == 5


def _typed(terminal: Terminal, line: str, answer: str) -> bool:
    terminal.type(line)
    return answer in terminal.expect("# ")


def test_an_unknown_image_is_said_to_be_one(docker: Docker) -> None:
    shown = docker("run", "--rm", "no-such-image", check=False)
    assert shown.code == 125 and "Unable to find image 'no-such-image:latest' locally" in shown.err
    assert "lookup registry-1.docker.io: " in shown.err


def test_ps_inspect_port_and_the_page(docker: Docker, lab: Lab, web: str) -> None:
    (line,) = (json.loads(text) for text in docker("ps", "--format", "json").out.splitlines())
    assert (line["Names"], line["Image"], line["State"], line["Ports"]) == (
        "web",
        "busybox",
        "running",
        "0.0.0.0:8080->80/tcp",
    )
    assert docker("port", web, "80/tcp").out == "0.0.0.0:8080\n"
    shown = docker("inspect", "-f", "{{.NetworkSettings.Networks.testbr.IPAddress}} {{.State.Pid}}", web).out.split()
    assert shown[0] == "10.10.10.2" and int(shown[1]) > 0
    eventually(lambda: lab.client.get("10.199.0.1", 8080) == b"page\n")
    assert docker("ps", "-q", "--filter", "label=a=b", "--no-trunc").out == docker("inspect", "-f", "{{.Id}}", web).out
    assert docker("ps", "-q", "--filter", "label=a=c").out == ""


def test_exec(docker: Docker, web: str) -> None:
    shown = docker("exec", web, "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (shown.code, shown.out, shown.err) == (3, "out\n", "err\n")
    data = os.urandom(300_000)
    assert docker("exec", "-i", web, "cat", input=data).stdout == data
    shown = docker("exec", web, "nope", check=False)
    assert shown.code == 127 and "executable file not found in $PATH" in shown.out + shown.err
    assert (
        docker("exec", "-e", "A=1", "-w", "/tmp", "-u", "app", web, "sh", "-c", "echo $A $PWD $(id -u)").out
        == "1 /tmp 1000\n"
    )
    docker("exec", "-d", web, "touch", "/tmp/detached")
    eventually(lambda: docker("exec", web, "ls", "/tmp/detached", check=False).code == 0)


def test_exec_on_a_terminal(docker: Docker, lab: Lab, web: str) -> None:
    with lab.pty(["docker", "exec", "-it", web, "sh"], env=docker.env) as terminal:
        terminal.expect("# ")
        terminal.type("echo $((40+2)); tty\n")
        terminal.expect("42")
        terminal.expect("/dev/pts/")
        terminal.type("exit 9\n")
        assert terminal.wait() == 9


def test_logs(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "talker",
        "busybox",
        "sh",
        "-c",
        "echo 1; echo 2 >&2; echo 3; sleep 0.5; echo 4; sleep 0.3",
    )
    following = docker.popen("logs", "-f", "--tail", "1", "talker")
    out, _ = following.communicate(timeout=PATIENCE)
    assert out.splitlines()[-1] == b"4" and following.returncode == 0
    shown = docker("logs", "talker")
    assert (shown.out, shown.err) == ("1\n3\n4\n", "2\n")
    stamp, text = docker("logs", "-t", "--tail", "1", "talker").out.split()
    assert text == "4" and stamp.endswith("Z")
    assert docker("logs", "--until", stamp[:-1] + "Z", "--since", "1h", "talker").out.startswith("1\n3\n")
    docker("rm", "-f", "talker")


def test_top_and_stats(docker: Docker, web: str) -> None:
    assert "httpd -f -p 80" in docker("top", web).out
    assert docker("top", web, "-o", "pid,args").out.splitlines()[0].split() == ["PID", "COMMAND"]
    (line,) = (json.loads(text) for text in docker("stats", "--no-stream", "--format", "json").out.splitlines())
    assert line["Name"] == "web" and line["PIDs"] == "1" and not line["MemUsage"].startswith("0B")


def test_pause_restart_rename_stop_start_kill_wait(docker: Docker, web: str) -> None:
    docker("pause", web)
    assert "(Paused)" in docker("ps", "--format", "{{.Status}}").out
    docker("unpause", web)
    docker("restart", "-t", "0", web)
    docker("rename", web, "web2")
    waiting = docker.popen("wait", "web2")
    docker("stop", "-t", "0", "web2")
    assert waiting.communicate(timeout=PATIENCE)[0] == b"137\n"
    assert docker("ps", "-a", "--format", "{{.Status}}").out.startswith("Exited (137)")
    docker("start", "web2")
    docker("kill", "-s", "KILL", "web2")
    assert docker("wait", "web2").out == "137\n"
    docker("rename", "web2", web)


def test_start_attached_misses_nothing(docker: Docker) -> None:
    docker("create", "--name", "quick", "busybox", "sh", "-c", "echo first words; exit 4")
    for _ in range(3):
        shown = docker("start", "-a", "quick", check=False)
        assert (shown.code, shown.out) == (4, "first words\n")
    docker("rm", "quick")


def test_update_reaches_the_cgroup(docker: Docker, lab: Lab, web: str) -> None:
    docker("update", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "33", web)
    ref = docker("inspect", "-f", "{{.Id}} {{.HostConfig.Memory}}", web).out.split()
    assert ref[1] == str(64 << 20)
    assert setting(lab, ref[0], "pids/pids.max", "pids.max") == "33"


def test_commit_history_diff_export_import(docker: Docker, lab: Lab, web: str) -> None:
    docker("exec", web, "sh", "-c", "echo new > /etc/new; rm /etc/group")
    assert {"A /etc/new", "C /etc", "D /etc/group"} <= set(docker("diff", web).out.splitlines())
    docker("commit", "-c", 'CMD ["cat", "/etc/new"]', "-m", "why", web, "mine:v1")
    assert docker("run", "--rm", "mine:v1").out == "new\n"
    assert docker("history", "--format", "{{.CreatedBy}}", "mine:v1").out.splitlines()[0] == "why"
    docker("export", "-o", str(lab.share / "web.tar"), web)
    docker("import", str(lab.share / "web.tar"), "mine:v2")
    assert docker("run", "--rm", "mine:v2", "cat", "/w/index.html").out == "page\n"
    assert docker("images", "--format", "{{.Tag}}", "mine").out.split() == ["v2", "v1"]
    docker("tag", "mine:v2", "other")
    docker("rmi", "mine:v1", "mine:v2", "other")


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_cp_both_ways_with_the_container_s_owners(docker: Docker, lab: Lab, running: bool) -> None:
    source = lab.share / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("text")
    os.chown(source / "d" / "f", 1000, 1000)
    (source / "d" / "run").write_text("#!/bin/sh\nid -u\n")
    (source / "d" / "run").chmod(0o755)
    docker("create", "--name", "box", "-v", "vol:/vol", "busybox", "sleep", "1000")
    if running:
        docker("start", "box")
        docker("cp", source / "d", "box:/vol/")
        assert docker("exec", "box", "stat", "-c", "%u %g %a", "/vol/d/run").out == "0 0 755\n"
    docker("cp", source / "d", "box:/etc/d")
    docker("cp", "-", "box:/etc", input=subprocess.run(["tar", "c", "-C", source, "d/f"], capture_output=True).stdout)
    assert "A /etc/d/run" in docker("diff", "box").out
    docker("cp", "box:/etc/d/run", lab.share / "back")
    assert (lab.share / "back").read_text() == "#!/bin/sh\nid -u\n"
    assert os.stat(lab.share / "back").st_mode & 0o777 == 0o755
    if not running:
        docker("start", "box")
    assert docker(
        "exec", "box", "sh", "-c", "stat -c '%u %a' / /etc /etc/d /etc/d/run /etc/d/f; /etc/d/run"
    ).out.split() == ("0 755 0 755 0 755 0 755 1000 644 0".split())
    shown = docker("cp", "box:/no/such", lab.share / "x", check=False)
    assert shown.code == 1 and "Could not find the file /no/such in container box" in shown.err
    docker("rm", "-f", "box")
    docker("volume", "rm", "vol")
    for left in ("source", "back"):
        lab.run(["rm", "-rf", str(lab.share / left)])


def test_networks(docker: Docker, web: str) -> None:
    names = docker("network", "ls", "--format", "{{.Name}}").out.split()
    assert {"bridge", "host", "none", "testbr"} <= set(names)
    (shown,) = json.loads(docker("network", "inspect", "testbr").out)
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]
    assert [c["Name"] for c in shown["Containers"].values()] == ["web"]
    refused = docker("network", "rm", "testbr", check=False)
    assert refused.code == 1 and "has active endpoints" in refused.err
    refused = docker("network", "rm", "bridge", check=False)
    assert refused.code == 1 and "pre-defined network" in refused.err


def test_connect_and_disconnect_while_it_runs(docker: Docker, lab: Lab, web: str) -> None:
    docker("network", "create", "second")
    docker("run", "-d", "--name", "peer", "--network", "second", "busybox", "sleep", "1000")
    docker("network", "connect", "--ip", "10.10.10.77", "testbr", "peer")
    eventually(lambda: docker("exec", "peer", "wget", "-q", "-O", "-", "http://10.10.10.2/").out == "page\n")
    assert docker("exec", "peer", "ip", "-o", "-4", "addr", "show", "eth1").out.split()[3] == "10.10.10.77/24"
    refused = docker("network", "connect", "testbr", "peer", check=False)
    assert refused.code == 1 and "already exists in network testbr" in refused.err
    taken = docker("network", "connect", "--ip", "10.10.10.77", "testbr", web, check=False)
    assert taken.code == 1
    lab.daemon.kill9()
    lab.daemon.start()
    docker("network", "disconnect", "testbr", "peer")
    assert docker("exec", "peer", "ip", "link", "show", "eth1", check=False).code != 0
    assert list(json.loads(docker("inspect", "peer").out)[0]["NetworkSettings"]["Networks"]) == ["second"]
    docker("network", "connect", "testbr", "peer")
    docker("restart", "-t", "0", "peer")
    eventually(lambda: docker("exec", "peer", "wget", "-q", "-O", "-", "http://10.10.10.2/").out == "page\n")
    docker("stop", "-t", "0", "peer")
    docker("network", "disconnect", "second", "peer")
    docker("start", "peer")
    links = docker("exec", "peer", "ip", "-o", "link").out
    assert "eth0" in links and "eth1" not in links
    docker("rm", "-f", "peer")
    docker("network", "rm", "second")


def test_volumes(docker: Docker) -> None:
    docker("volume", "create", "--label", "k=v", "data")
    docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/f")
    assert docker("run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/f").out == "kept\n"
    assert docker("volume", "ls", "-q", "--filter", "label=k").out == "data\n"
    docker("run", "-d", "--name", "user", "-v", "data:/data", "-v", "/anonymous", "busybox", "sleep", "1000")
    refused = docker("volume", "rm", "data", check=False)
    assert refused.code == 1 and "volume is in use" in refused.err
    assert len(docker("volume", "ls", "-q").out.split()) == 2
    docker("rm", "-f", "-v", "user")
    assert docker("volume", "ls", "-q").out == "data\n"
    docker("volume", "rm", "data")


def test_events_tell_a_life_in_order(docker: Docker) -> None:
    docker("run", "--rm", "--name", "brief", "busybox", "true")

    def told() -> list[str]:
        query = [
            "events",
            "--since",
            "1m",
            "--until",
            f"{int(time.time()) + 1}",
            "--filter",
            "container=brief",
            "--format",
            "{{.Action}}",
        ]
        return docker(*query).out.split()

    eventually(lambda: [a for a in told() if "connect" not in a][-4:] == ["create", "start", "die", "destroy"])


def test_info_and_df(docker: Docker, web: str) -> None:
    shown = json.loads(docker("info", "--format", "{{json .}}").out)
    assert (shown["ContainersRunning"], shown["DefaultRuntime"], shown["OSType"]) == (1, "hawse", "linux")
    assert "Images" in docker("system", "df").out


def test_prune(docker: Docker) -> None:
    docker("run", "--name", "ended", "busybox", "true")
    docker("network", "create", "unused")
    docker("volume", "create", "unused")
    assert "Total reclaimed space" in docker("system", "prune", "-f", "--volumes", "--filter", "label!=keep").out
    assert docker("ps", "-aq").out == "" and "unused" not in docker("network", "ls").out
    docker("volume", "prune", "-af")
    assert docker("volume", "ls", "-q").out == ""


def test_block_io_is_what_the_kernel_counts(docker: Docker, lab: Lab, web: str) -> None:
    """Newer kernels count on v1 only where something is throttled: then both show zero."""
    ref = docker("inspect", "-f", "{{.Id}}", web).out.strip()
    own = f"hawse_{lab.instance}/{ref}"
    files = (f"*/{own}/blkio.throttle.io_service_bytes_recursive", f"{own}/io.stat", f"*/{own}/io.stat")

    def agree() -> bool:
        """Unless the program has read something in between."""
        text = "".join(path.read_text() for name in files for path in Path("/sys/fs/cgroup").glob(name))
        kernel = sum(int(count) for count in re.findall(r"(?: Read |rbytes=)(\d+)", text))
        status, body = lab.daemon.request("GET", f"/containers/{ref}/stats?stream=0&one-shot=1")
        rows = json.loads(body)["blkio_stats"]["io_service_bytes_recursive"] or []
        return status == 200 and sum(row["value"] for row in rows if row["op"] == "read") == kernel

    eventually(agree)
    (line,) = (json.loads(text) for text in docker("stats", "--no-stream", "--format", "json").out.splitlines())
    assert line["BlockIO"].count("B") == 2
