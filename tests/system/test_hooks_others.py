"""Webhooks and handlers in Python."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import sys

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

RECEIVER = """
import http.server, json, socketserver, sys
path, out = sys.argv[1:]
class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("unix", 0)
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.count += 1
        with open(out, "a") as file:
            print(json.dumps([self.path, dict(self.headers), body.decode()]), file=file)
        self.send_response(503 if Handler.count == 1 else 200)
        self.end_headers()
    def log_message(self, *_): pass
Server(path, Handler).serve_forever()
"""

PYTHON = """
from pathlib import Path
import anyio
from hawse.handlers import on
from hawse.supervisor.errors import Forbidden

@on("container.exited", name="tell")
async def tell(event, ctx):
    Path("{out}").write_text(f"{{event.fact.container.name}} {{event.fact.exit.code}}")

@on("container.exited", attempts=1)
async def fails(event, ctx):
    raise RuntimeError("no")

@on("container.exited", attempts=1, deadline=0.1)
async def hangs(event, ctx):
    await anyio.sleep_forever()

@on("pre-start")
async def ask(question, ctx):
    if question.container.name.startswith("bad"):
        raise Forbidden("python says no")
"""


def test_a_webhook_is_signed_and_repeated(lab: Lab) -> None:
    hooks, socket, out = lab.state / "hooks.d", lab.share / "hook.sock", lab.share / "posts"
    (lab.share / "secret").write_text("Jefe\n")
    (lab.share / "secret").chmod(0o600)
    receiver = lab.popen([sys.executable, "-c", RECEIVER, socket, out])
    try:
        eventually(socket.exists)
        (hooks / "10-alert.toml").write_text(
            f'on = "container.exited"\nurl = "unix://{socket}:/alert"\nsecret_file = "{lab.share / "secret"}"\n'
        )
        eventually(lambda: "10-alert.toml" in lab.hawse("hook", "ls").out)
        lab.hawse("run", "--rm", "--name", "web", "--network", "none", "busybox", "true")
        eventually(lambda: len(out.read_text().splitlines()) == 2)
        posts = out.read_text().splitlines()
        (path, first, body), (_, second, again) = map(json.loads, posts)
        assert path == "/alert" and body == again and json.loads(body)["data"]["container"]["name"] == "web"
        assert [first["Hawse-Attempt"], second["Hawse-Attempt"]] == ["1", "2"]
        digest = hmac.new(b"Jefe", body.encode(), hashlib.sha256).hexdigest()
        assert first["Hawse-Signature"] == f"sha256={digest}"
        assert first["Content-Type"].startswith("application/cloudevents+json")
        eventually(lambda: "succeeded" in lab.hawse("hook", "runs", "10-alert.toml").out)
    finally:
        receiver.kill()
        receiver.wait()
        (hooks / "10-alert.toml").unlink(missing_ok=True)
    eventually(lambda: "10-alert" not in lab.hawse("hook", "ls").out)


def test_handlers_in_python(lab: Lab) -> None:
    directory, out = lab.state / "handlers.d", lab.share / "told"
    directory.mkdir()
    (directory / "mine.py").write_text(PYTHON.format(out=out))
    (directory / "broken.py").write_text("import nonsense_that_is_not_there")
    (directory / "open.py").write_text("raise SystemExit")
    (directory / "open.py").chmod(0o666)
    lab.daemon.restart()
    lab.hawse("run", "--rm", "--name", "good", "--network", "none", "busybox", "sh", "-c", "exit 4", check=False)
    assert eventually(lambda: out.exists() and out.read_text()) == "good 4"
    refused = lab.hawse("run", "--rm", "--name", "bad", "--network", "none", "busybox", "true", check=False)
    assert refused.code == 125 and "python says no" in refused.err
    eventually(lambda: lab.daemon.log.count("handler_dead") >= 2)
    assert lab.daemon.log.count("handler_not_loaded") == 2
    shutil.rmtree(directory)
    lab.daemon.restart()
