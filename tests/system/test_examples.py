"""Each example does what its README says."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import REPOSITORY, Lab
from hawse.cli.selftest.waiting import eventually

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def hooks(lab: Lab) -> Iterator[Path]:
    base = lab.state / "hooks.d"
    yield base
    for path in base.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")


def install(lab: Lab, hooks: Path, example: str, *events: str, settings: dict[str, str]) -> None:
    """A script for some events, with its settings where the script's defaults would be outside the lab."""
    (script,) = (EXAMPLES / example).glob("10-*")
    for event in events:
        place = hooks / f"on-{event}.d" / script.name
        place.parent.mkdir(parents=True)
        lines = script.read_text().splitlines(keepends=True)
        place.write_text("".join([lines[0], *(f"{k}='{v}'\n" for k, v in settings.items()), *lines[1:]]))
        place.chmod(0o755)
    eventually(lambda: lab.hawse("hook", "ls").out.count("ready") == len(events))


def test_nginx_upstream(lab: Lab, hooks: Path) -> None:
    file = lab.share / "upstream.conf"
    settings = {"UPSTREAM_FILE": str(file), "NGINX_RELOAD": f"touch {lab.share}/reloaded"}
    install(lab, hooks, "nginx-upstream", "container.started", "container.exited", settings=settings)
    for name in ("web1", "web2"):
        lab.hawse("run", "-d", "--name", name, "-l", "upstream=8080", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "other", "busybox", "sleep", "1000")
    wanted = {f"server {lab.address(name, 'bridge')}:8080;" for name in ("web1", "web2")}
    eventually(lambda: {x.strip() for x in file.read_text().splitlines()[1:-1]} == wanted, 20)
    assert (lab.share / "reloaded").exists()
    lab.hawse("rm", "-f", "web1", "web2", "other")
    eventually(lambda: "none is running" in file.read_text(), 20)


def test_hosts_file(lab: Lab, hooks: Path) -> None:
    file = lab.share / "hosts"
    settings = {"HOSTS_FILE": str(file)}
    install(lab, hooks, "hosts-file", "container.started", "container.exited", settings=settings)
    lab.hawse("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    line = f"{lab.address('web', 'bridge')} web\n"
    eventually(lambda: file.read_text() == line, 20)
    lab.hawse("rm", "-f", "web")
    eventually(lambda: file.read_text() == "", 20)


def test_allow_list(lab: Lab, hooks: Path) -> None:
    script = lab.share / "10-allow-list"
    shutil.copy(EXAMPLES / "allow-list/10-allow-list", script)
    text = (EXAMPLES / "allow-list/allow-list.toml").read_text()
    (hooks / "allow-list.toml").write_text(text.replace("/usr/local/lib/hawse/10-allow-list", str(script)))
    eventually(lambda: "ready" in lab.hawse("hook", "ls").out)
    lab.hawse("run", "-d", "--name", "in", "-l", "allow", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "out", "busybox", "sleep", "1000")

    def allowed() -> str:
        return lab.run(["nft", "list", "set", "inet", "allowed", "containers"]).out

    address = lab.address("in", "bridge")
    eventually(lambda: address in allowed())
    assert lab.address("out", "bridge") not in allowed()
    lab.hawse("rm", "-f", "in", "out")
    eventually(lambda: address not in allowed())
    lab.run(["nft", "delete", "table", "inet", "allowed"])


RECEIVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        open(sys.argv[1], "ab").write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9095), Handler).serve_forever()
"""


def test_restart_alert(lab: Lab, hooks: Path) -> None:
    secret = lab.share / "alert.secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    text = (EXAMPLES / "restart-alert/restart-alert.toml").read_text()
    (hooks / "restart-alert.toml").write_text(text.replace("/etc/hawse/alert.secret", str(secret)))
    eventually(lambda: "ready" in lab.hawse("hook", "ls").out)
    out = lab.share / "alerts"
    receiver = lab.popen([sys.executable, "-c", RECEIVER, out])
    try:
        lab.hawse("run", "-d", "--name", "flaky", "--network", "none", "--restart", "on-failure:1", "busybox", "false")
        eventually(lambda: "container.restarting" in out.read_text(), 20)
        lab.hawse("rm", "-f", "flaky")
    finally:
        receiver.kill()
        receiver.wait()


def test_wait_in_ci(lab: Lab) -> None:
    done = lab.run([EXAMPLES / "wait-in-ci/ci.sh", "busybox", "echo", "tested"])
    assert done.out.splitlines()[-1] == "tested"
    assert not lab.hawse("ps", "-aq").out
