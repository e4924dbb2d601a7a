"""testcontainers-python, which we did not write: a generic container, and its reaper's protocol served by a stand-in.

The reaper ("ryuk") is an image from a registry, which nothing here can reach.  The stand-in speaks the same protocol: a
line of label filters is answered with ACK, and when the connection ends, what carries these labels is removed through the
mounted socket.  It is Perl because every Debian has that, in a few files that need nothing else.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

GENERIC = """
import time, urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

serve = "echo ready; exec httpd -f -p 80 -h /www"
box = DockerContainer("busybox", command=["sh", "-c", serve]).with_env("A", "b").with_exposed_ports(80)
with box.waiting_for(LogMessageWaitStrategy("ready")):
    port = box.get_exposed_port(80)
    while True:
        try:
            page = urllib.request.urlopen(f"http://{box.get_container_host_ip()}:{port}", timeout=60).read().decode()
            break
        except OSError:
            time.sleep(0.05)  # it has said that it is about to listen
    said = box.exec(["sh", "-c", "echo $A; exit 3"])
    out, err = box.get_logs()
    print(port, page.strip(), said.exit_code, said.output.decode().strip(), out.decode().strip(), sep="|", flush=True)
"""

REAPED = """
import sys
from testcontainers.core.container import DockerContainer, Reaper
from testcontainers.core.network import Network

network = Network().create()
box = DockerContainer("busybox", command="sleep 1000").with_network(network).start()
assert Reaper._socket.recv(4) == b"ACK\\n"
print(box.get_wrapped_container().id, network.name, flush=True)
sys.stdin.read()  # until it is killed
"""

RYUK = r"""
use strict; use warnings; use IO::Socket::INET; use IO::Socket::UNIX;

sub api {
    my ($method, $path) = @_;
    my $daemon = IO::Socket::UNIX->new(Peer => "/var/run/docker.sock") or die "the socket: $!";
    print $daemon "$method $path HTTP/1.0\r\n\r\n";
    local $/;
    return <$daemon>;
}

my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die "port 8080: $!";
print "Ryuk stand-in Started!\n"; STDOUT->flush;
my $client = $server->accept;
my @filters;
while (my $line = <$client>) {
    $line =~ s/\s+$//;
    push @filters, $line =~ s/^label=//r;
    print $client "ACK\n"; $client->flush;
}
for my $label (@filters) {
    my $filter = qq({"label":["$label"]}) =~ s/([^A-Za-z0-9])/sprintf "%%%02X", ord $1/ger;
    api("DELETE", "/containers/$_?force=1&v=1") for api("GET", "/containers/json?all=1&filters=$filter") =~ /"Id":"(\w+)"/g;
    api("POST", "/networks/prune?filters=$filter");
    api("POST", "/volumes/prune?filters=$filter");
}
"""


@pytest.fixture
def ryuk(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """An image that can stand in for the reaper's."""
    perl = shutil.which("perl")
    if perl is None:
        pytest.fail("perl is not installed: apt install perl-base")
    linked = re.findall(
        r"(/\S+) \(0x", subprocess.run(["ldd", perl], capture_output=True, text=True, check=True).stdout
    )
    modules = subprocess.run(
        [perl, "-e", "print grep { m(/perl-base$) } @INC"], capture_output=True, text=True, check=True
    ).stdout
    packed = tmp_path / "ryuk.tar"
    with tarfile.open(packed, "w", dereference=True) as archive:
        for path in (perl, modules, *linked):
            archive.add(path)
        script = tarfile.TarInfo("ryuk.pl")
        script.size = len(RYUK.encode())
        archive.addfile(script, io.BytesIO(RYUK.encode()))
    change = f'ENTRYPOINT ["{perl}", "/ryuk.pl"]'
    lab.hawse("image", "import", "--change", change, "-", "ryuk:stand-in", input=packed.read_bytes())
    yield "ryuk:stand-in"
    lab.hawse("image", "rm", "ryuk:stand-in")


def _environment(lab: Lab) -> dict[str, str]:
    return {"DOCKER_HOST": lab.env["HAWSE_HOST"], "TC_HOST": "127.0.0.1", "TC_POOLING_INTERVAL": "0.05"}


def test_a_generic_container(lab: Lab) -> None:
    env = {**_environment(lab), "TESTCONTAINERS_RYUK_DISABLED": "true"}
    shown = lab.run([sys.executable, "-W", "ignore", "-c", GENERIC], env=env).out.strip()
    port, *rest = shown.split("|")
    assert 1024 < int(port) < 65536 and rest == ["hello from busybox", "3", "b", "ready"]
    assert lab.hawse("ps", "-aq").out == ""


def test_the_reaper_removes_what_a_killed_program_left(lab: Lab, ryuk: str) -> None:
    env = {**_environment(lab), "RYUK_CONTAINER_IMAGE": ryuk, "TESTCONTAINERS_RYUK_PRIVILEGED": "true"}
    program = lab.popen(
        [sys.executable, "-W", "ignore", "-c", REAPED], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdin is not None and program.stdout is not None
    try:
        identifier, network = program.stdout.readline().decode().split()
        running = lab.hawse("ps", "--no-trunc", "--format", "{{.ID}} {{.Image}}").out
        assert f"{identifier} busybox" in running and ryuk in running
        assert network in lab.hawse("network", "ls").out
    finally:
        os.kill(program.pid, 9)
        program.communicate()
    eventually(lambda: not lab.hawse("ps", "-aq").out)
    eventually(lambda: network not in lab.hawse("network", "ls").out)
