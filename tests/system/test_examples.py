"""Each example does what its README says: its commands are run as they stand there, on a host with an /etc of its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import REPOSITORY, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually

EXAMPLES = REPOSITORY / "examples"
NGINX = """
events {}
http {
    access_log off;
    include /etc/nginx/conf.d/*.conf;
    server { listen 127.0.0.1:8088; location / { proxy_pass http://hawse; } }
}
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Lab]:
    """A clean install: /etc and /usr/local can be written, hooks are where they are by default, images have names."""
    with Lab() as lab:
        for directory in ("/etc", "/usr/local"):
            above = lab.share / f"above{directory.replace('/', '-')}"
            for part in ("upper", "work"):
                (above / part).mkdir(parents=True)
            layers = f"lowerdir={directory},upperdir={above}/upper,workdir={above}/work"
            lab.run(["mount", "-t", "overlay", "-o", layers, "overlay", directory])
        lab.daemon.start(env={"HAWSE_HOOKS_DIR": "/etc/hawse/hooks.d"})
        lab.hawse("image", "import", busybox_tar(), "busybox")
        web = ("sh", "-c", "hostname > index.html; exec httpd -f -p 8080")
        for name, change, command in (
            ("my/web", (), web),
            ("my/service", ("-c", "HEALTHCHECK --interval=200ms CMD wget -q -O - http://127.0.0.1:8080/"), web),
            ("my/sick", ("-c", "HEALTHCHECK --interval=200ms CMD false"), web),
            ("my/flaky", (), ("false",)),
        ):
            lab.hawse("create", "--name", "template", "--network", "none", "busybox", *command)
            lab.hawse("commit", *change, "template", name)
            lab.hawse("rm", "template")
        yield lab


@pytest.fixture
def lab(host: Lab) -> Iterator[Lab]:
    yield host
    if left := host.hawse("ps", "-aq").out.split():
        host.hawse("rm", "-f", *left)
    host.run(["sh", "-c", "rm -rf /etc/hawse/hooks.d/*"])
    eventually(lambda: host.hawse("hook", "ls", "--format", "json").out.strip() == "[]")


def follow_readme(lab: Lab, example: str) -> None:
    """Run its first block of commands, in a copy of its directory."""
    place = lab.share / example
    shutil.copytree(EXAMPLES / example, place)
    found = re.search(r"```sh\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    assert found
    lab.run(["sh", "-eu", "-c", found[1]], cwd=place)


def behind(lab: Lab) -> set[str]:
    """Which containers nginx takes its answers from: each says its name."""
    get = """
import http.client
for _ in range(4):
    connection = http.client.HTTPConnection("127.0.0.1", 8088, timeout=5)
    connection.request("GET", "/")
    print(connection.getresponse().read().decode().strip())
"""
    return set(lab.run([sys.executable, "-c", get], check=False).out.split())


def test_nginx_upstream(lab: Lab, debian: Path) -> None:
    lab.run(
        ["sh", "-c", "mkdir -p /etc/nginx/conf.d /run/nginx && mount -t tmpfs none /var/lib && mkdir /var/lib/nginx"]
    )
    lab.run(["install", "-D", debian / "usr/sbin/nginx", "/usr/local/sbin/nginx"])
    conf = f"{NGINX}\npid /run/nginx.pid;\nerror_log /run/nginx.log;\nuser root;\n"
    lab.run(["sh", "-c", "cat > /etc/nginx/nginx.conf"], input=conf)
    file = "/etc/nginx/conf.d/hawse-upstream.conf"
    lab.run(["sh", "-c", f"echo 'upstream hawse {{ server 127.0.0.1:9; }}' > {file}"])
    nginx = lab.popen(["/usr/local/sbin/nginx", "-g", "daemon off;"])
    try:
        eventually(lambda: lab.run(["cat", "/run/nginx.pid"]).out)
        follow_readme(lab, "nginx-upstream")
        lab.hawse("run", "-d", "--name", "other", "my/web")
        names = {
            name: lab.hawse("inspect", "--format", "{{.Config.Hostname}}", name).out.strip()
            for name in ("web1", "web2")
        }
        wanted = {f"server {lab.address(name, 'bridge')}:8080;" for name in names}
        eventually(lambda: {x.strip() for x in lab.run(["cat", file]).out.splitlines()[1:-1]} == wanted)
        eventually(lambda: behind(lab) == set(names.values()))
        gone = lab.address("web1", "bridge")
        lab.hawse("rm", "-f", "web1")
        eventually(lambda: gone not in lab.run(["cat", file]).out)
        eventually(lambda: behind(lab) == {names["web2"]})
        lab.hawse("rm", "-f", "web2")
        eventually(lambda: "none is running" in lab.run(["cat", file]).out)
    finally:
        nginx.terminate()
        nginx.wait(PATIENCE)


def test_hosts_file(lab: Lab) -> None:
    follow_readme(lab, "hosts-file")
    line = f"{lab.address('web', 'bridge')} web\n"
    eventually(lambda: lab.run(["cat", "/etc/hawse-hosts"]).out == line)
    lab.hawse("rm", "-f", "web")
    eventually(lambda: lab.run(["cat", "/etc/hawse-hosts"]).out == "")


def test_allow_list(lab: Lab) -> None:
    follow_readme(lab, "allow-list")

    def allowed() -> str:
        return lab.run(["nft", "list", "set", "inet", "allowed", "containers"]).out

    address = lab.address("web", "bridge")
    eventually(lambda: address in allowed())
    assert lab.address("other", "bridge") not in allowed()
    lab.hawse("rm", "-f", "web")
    eventually(lambda: address not in allowed())
    lab.run(["nft", "delete", "table", "inet", "allowed"])


RECEIVER = """
import hashlib, hmac, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        secret = open("/etc/hawse/alert.secret", "rb").read().strip()
        right = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest() == self.headers["Hawse-Signature"]
        if right:
            open(sys.argv[1], "ab").write(body + b"\\n")
        self.send_response(204 if right else 401)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9095), Handler).serve_forever()
"""


def restarts(alerts: Path) -> set[str]:
    events = [json.loads(line) for line in alerts.read_text().splitlines()]
    return {event["id"] for event in events if event["type"] == "container.restarting"}


def test_restart_alert(lab: Lab) -> None:
    out = lab.share / "alerts"
    receiver = lab.popen([sys.executable, "-c", RECEIVER, out])
    try:
        follow_readme(lab, "restart-alert")
        # Two, by their ids: an alert whose answer was late is sent again.
        eventually(lambda: len(restarts(out)) == 2)
        assert "HTTP 204" in lab.hawse("hook", "runs", "restart-alert.toml").out
    finally:
        receiver.kill()
        receiver.wait()


def test_wait_in_ci(lab: Lab) -> None:
    follow_readme(lab, "wait-in-ci")
    script = lab.share / "wait-in-ci/ci.sh"
    said = lab.run([script, "my/service", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]).out
    assert re.fullmatch(r"(.*\n)?[0-9a-f]{12}\n", said)
    assert lab.run([script, "my/service", "sh", "-c", "exit 7"], check=False).code == 7
    sick = lab.run([script, "my/sick", "true"], env={"CI_TIMEOUT": "1s"}, check=False)
    assert sick.code == 1 and "not healthy" in sick.err
    ended = lab.run([script, "my/flaky", "true"], check=False)
    assert ended.code == 1 and not lab.hawse("ps", "-aq").out
