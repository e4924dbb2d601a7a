"""Every wrong value is refused before anything is made, with a text that says what, why and what to do.

The leak check after each test is what proves "before anything is made".
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE


def refused(lab: Lab, *args: str, code: int = 125) -> str:
    shown = lab.hawse(*args, check=False)
    assert shown.code == code, str(shown)
    assert shown.out == "", "an error goes to stderr"
    assert "Traceback" not in shown.err
    assert shown.err.startswith("hawse: ") or "Usage" in shown.err or "usage" in shown.err, shown.err
    return shown.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--network", "nowhere"], ["network nowhere not found"]),
        (["--network", "brigde"], ["network brigde not found", "bridge"]),
        (["--security-opt", "apparmor=nobodys"], ["apparmor", "nobodys"]),
        (["--security-opt", "label=type:spc_t"], ["label=type:spc_t", "SELinux"]),
        (["-m", "lots"], ["invalid size: 'lots'"]),
        (["-m", "1k"], ["Minimum memory limit allowed is"]),
        (["-m", "-5m"], ["-5m"]),
        (["--cpus", "many"], ["many"]),
        (["--cpus", "-1"], ["-1"]),
        (["--cpus", "1000"], ["1000", "Range of CPUs"]),
        (["--cpuset-cpus", "zero"], ["zero"]),
        (["--cpuset-cpus", "4000"], ["4000"]),
        (["--pids-limit", "few"], ["few"]),
        (["-p", "nonsense"], ["nonsense"]),
        (["-p", "70000:80"], ["70000"]),
        (["-p", "80:70000"], ["70000"]),
        (["-p", "8000-8002:80-81"], ["8000-8002"]),
        (["-p", "300.0.0.1:80:80"], ["300.0.0.1"]),
        (["-p", "80:80/carrier-pigeon"], ["carrier-pigeon"]),
        (["-v", "/no/such/path:/data"], ["/no/such/path", "does not exist"]),
        (["-v", "/tmp:relative"], ["relative"]),
        (["-v", "/tmp:/data:rx"], ["rx"]),
        (["-u", "nobody-here"], ["unable to find user nobody-here"]),
        (["-u", "app:no-such-group"], ["no-such-group"]),
        (["-w", "relative"], ["relative"]),
        (["--name", "bad name"], ["Invalid container name (bad name)"]),
        (["--name", "-"], ["Invalid container name"]),
        (["--cap-add", "FLY"], ["FLY"]),
        (["-e", "=value"], ["=value"]),
        (["--hostname", "-bad-"], ["-bad-"]),
        (["--ip", "10.1.2.3"], ["10.1.2.3"]),
        (["--ip", "10.1.2"], ["10.1.2"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["-d", "-it", "--rootfs", "/no/such/root"], ["/no/such/root"]),
    ],
)
def test_run(lab: Lab, flags: list[str], said: list[str]) -> None:
    image = [] if "--rootfs" in flags else ["busybox"]
    error = refused(lab, "run", "--rm", *flags, *image, "true")
    for text in said:
        assert text in error


def test_an_unknown_image_with_a_near_name(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "busybxo", "true", check=False)
    assert shown.code == 125
    assert "Unable to find image 'busybxo:latest' locally (did you mean busybox:latest?)" in shown.err
    assert "lookup registry-1.docker.io: " in shown.err


def test_no_command(lab: Lab) -> None:
    assert "no command specified" in refused(lab, "run", "--rm", "busybox").lower()


def test_no_image(lab: Lab) -> None:
    assert "requires at least 1 argument" in refused(lab, "run")


@pytest.mark.parametrize("verb", ["start", "stop", "kill", "rm", "logs", "inspect", "wait", "exec"])
def test_an_unknown_container_with_a_near_name(lab: Lab, verb: str) -> None:
    lab.hawse("run", "-d", "--name", "webserver", "busybox", "sleep", "100")
    program = ["true"] if verb == "exec" else []
    shown = lab.hawse(verb, "websrever", *program, check=False)
    assert shown.code == 1
    assert "No such" in shown.err and "websrever" in shown.err
    assert "webserver" in shown.err
    lab.hawse("rm", "-f", "webserver")


def test_a_name_that_is_taken(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "--name", "mine", "busybox", "sleep", "100").out.strip()
    error = refused(lab, "run", "--name", "mine", "busybox", "true")
    assert 'The container name "/mine" is already in use by container' in error
    assert identifier in error
    lab.hawse("rm", "-f", "mine")


def test_an_ambiguous_prefix(lab: Lab) -> None:
    identifiers = [lab.hawse("run", "-d", "busybox", "sleep", "1000").out.strip() for _ in range(17)]
    firsts = [i[0] for i in identifiers]
    prefix = next(f for f in firsts if firsts.count(f) > 1)  # 17 ids, 16 digits
    shown = lab.hawse("kill", prefix, check=False)
    assert shown.code == 1
    assert "prefix" in shown.err and prefix in shown.err
    lab.hawse("rm", "-f", *identifiers)


def test_a_port_that_a_container_has(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "holder", "-p", "8080:80", "busybox", "sleep", "100")
    for published in ("8080:80", "127.0.0.1:8080:80", f"{HOST}:8080:80"):
        error = refused(lab, "run", "--rm", "-p", published, "busybox", "true")
        assert "8080" in error and "port is already allocated" in error
        assert "holder" in error, "by whom"
    lab.hawse("run", "--rm", "-p", "8080:80/udp", "busybox", "true")
    lab.hawse("rm", "-f", "holder")


@pytest.fixture
def taken(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that listens on 8084."""
    with lab.host.listen(8084) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = lab.popen(["sleep", "1000"], pass_fds=[listener.fileno()])
    yield process
    process.kill()
    process.wait()


def test_a_port_that_a_process_has(lab: Lab, taken: subprocess.Popen[bytes]) -> None:
    error = refused(lab, "run", "--rm", "-p", "8084:80", "busybox", "true")
    assert "8084" in error and "in use" in error
    assert "sleep" in error, "by whom"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--subnet", "nonsense"], ["nonsense"]),
        (["--subnet", "10.0.0.0/33"], ["10.0.0.0/33"]),
        (["--subnet", "10.0.0.0/31"], ["10.0.0.0/31"]),
        (["--subnet", "10.199.0.0/16"], ["10.199.0.0/16", "cli0"]),
        (["--subnet", "10.60.0.0/24", "--gateway", "10.61.0.1"], ["10.61.0.1"]),
        (["--subnet", "10.60.0.0/24", "--gateway", "10.60.0.0"], ["10.60.0.0"]),
        (["--subnet", "10.60.0.0/24", "--gateway", "10.60.0.255"], ["10.60.0.255"]),
        (["--subnet", "127.0.0.0/8"], ["127.0.0.0/8"]),
        (["--subnet", "224.0.0.0/8"], ["224.0.0.0/8"]),
        (["--driver", "overlay"], ["overlay"]),
    ],
)
def test_network_create(lab: Lab, flags: list[str], said: list[str]) -> None:
    error = refused(lab, "network", "create", *flags, "wrong", code=1)
    for text in said:
        assert text in error


@pytest.mark.parametrize("name", ["bridge", "host", "none", "bad name ", "-x/y", ""])
def test_network_names(lab: Lab, name: str) -> None:
    refused(lab, "network", "create", "--", name, code=1)


def test_a_subnet_that_another_network_has(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.60.0.0/16", "large")
    error = refused(lab, "network", "create", "--subnet", "10.60.5.0/24", "inside", code=1)
    assert "10.60.5.0/24" in error and "large" in error
    assert "already exists" in refused(lab, "network", "create", "large", code=1)
    lab.hawse("network", "rm", "large")


def test_a_device_of_that_name_is_not_taken_over(lab: Lab) -> None:
    lab.run(["ip", "link", "add", "mybr", "type", "bridge"])
    shown = lab.hawse("network", "create", "mybr", check=False)
    if shown.code == 0:
        lab.hawse("network", "rm", "mybr")  # it was given another name
    assert "mybr" in lab.run(["ip", "link", "show", "mybr"]).out, "the foreign bridge is still there"
    lab.run(["ip", "link", "del", "mybr"])


def test_addresses_outside_taken_and_reserved(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.70.0.0/29", "small")
    lab.hawse("run", "-d", "--name", "first", "--network", "small", "--ip", "10.70.0.3", "busybox", "sleep", "100")
    for address, why in (
        ("10.71.0.3", "10.70.0.0/29"),
        ("10.70.0.3", "first"),
        ("10.70.0.0", "10.70.0.0"),
        ("10.70.0.1", "gateway"),
        ("10.70.0.7", "10.70.0.7"),
    ):
        error = refused(lab, "run", "--rm", "--network", "small", "--ip", address, "busybox", "true")
        assert address in error and why in error
    lab.hawse("rm", "-f", "first")
    lab.hawse("network", "rm", "small")


def test_a_full_subnet(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.72.0.0/30", "tiny")
    lab.hawse("run", "-d", "--name", "only", "--network", "tiny", "busybox", "sleep", "100")
    error = refused(lab, "run", "--rm", "--network", "tiny", "busybox", "true")
    assert "no available IPv4 addresses" in error and "tiny" in error
    lab.hawse("rm", "-f", "only")
    assert lab.hawse("run", "--rm", "--network", "tiny", "busybox", "true").code == 0
    lab.hawse("network", "rm", "tiny")


def test_an_unknown_verb(lab: Lab) -> None:
    error = refused(lab, "rnu", code=1)
    assert "'rnu' is not a hawse command" in error and "run" in error


def test_no_daemon(bare_lab: Lab) -> None:
    error = refused(bare_lab, "ps", code=1)
    assert "hawse.sock" in error and "daemon" in error


def test_not_root(bare_lab: Lab) -> None:
    # an ordinary user, who may read files, because the interpreter can lie below /root
    readable = ("--inh-caps", "+dac_read_search,+dac_override", "--ambient-caps", "+dac_read_search,+dac_override")
    user = ("setpriv", "--reuid", "65534", "--clear-groups", *readable)
    for verb in ("ps", "daemon"):
        refusal = bare_lab.run([*user, "hawse", verb], check=False, env={"HAWSE_AUTOSTART": "1"})
        assert refusal.code == 1
        assert "root" in refusal.err and "Traceback" not in refusal.err


def test_a_request_that_is_no_json(lab: Lab) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(lab.daemon.socket_path))
        sock.sendall(
            b"POST /v1.47/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\nConnection: close\r\n\r\n{nope"
        )
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"message"' in answer


def test_argv_that_is_no_text(lab: Lab) -> None:
    """Linux arguments are bytes; what is not UTF-8 must arrive or be refused, not crash."""
    shown = lab.run(["sh", "-c", "hawse run --rm busybox printf %s \"$(printf 'a\\377b')\" "], check=False)
    assert "Traceback" not in shown.err
    assert shown.stdout in (b"a\xffb", b"")
