"""Webhooks: what a receiver gets over a unix socket, http and https, alone or in batches, and one that is never there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

# WHERE (a socket's path, or a port), OUT, and optionally SECRET and a CERTIFICATE.  It checks the signature itself.  Files
# steer it: OUT.codes has the answers to the first requests, while OUT.hold is there no request is answered.
RECEIVER = """
import hashlib, hmac, http.server, json, os, socketserver, ssl, sys, time
where, out, secret, certificate = (*sys.argv[1:], "", "")[:4]
class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("unix", 0)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        with open(out, "a") as file:
            print(json.dumps([self.path, dict(self.headers), json.loads(body)]), file=file)
        while os.path.exists(out + ".hold"):
            time.sleep(0.01)
        codes = open(out + ".codes").read().split() if os.path.exists(out + ".codes") else []
        with open(out + ".codes", "w") as file:
            file.write(" ".join(codes[1:]))
        code = int(codes[0]) if codes else 204
        if secret and not hmac.compare_digest(signed, self.headers["Hawse-Signature"] or ""):
            code = 401
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
if where.isdigit():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(where)), Handler)
else:
    server = Unix(where, Handler)
if certificate:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Receiver:
    def __init__(self, out: Path) -> None:
        self.out, self.codes, self.hold = out, Path(f"{out}.codes"), Path(f"{out}.hold")

    @property
    def posts(self) -> list[Any]:
        """Path, headers and document of every request so far."""
        return [json.loads(line) for line in self.out.read_text().splitlines()] if self.out.exists() else []


@pytest.fixture
def receiving(lab: Lab) -> Iterator[Callable[..., Any]]:
    @contextmanager
    def receiving(where: str | Path, *rest: str | Path, codes: str = "") -> Iterator[Receiver]:
        receiver = Receiver(lab.share / "posts")
        receiver.codes.write_text(codes)
        process = lab.popen([sys.executable, "-c", RECEIVER, where, receiver.out, *rest])
        to = ("127.0.0.1", int(where)) if isinstance(where, str) else str(where)
        probe = (
            f"import socket as s; s.socket({'s.AF_INET' if isinstance(where, str) else 's.AF_UNIX'}).connect({to!r})"
        )
        try:
            eventually(lambda: not _code(lab, [sys.executable, "-c", probe]))
            yield receiver
        finally:
            process.kill()
            process.wait()

    yield receiving
    for path in (*(lab.state / "hooks.d").iterdir(), *lab.share.glob("posts*")):
        path.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")


def _code(lab: Lab, argv: list[str]) -> int:
    return lab.run(argv, check=False).code


def declare(lab: Lab, url: str, *lines: str, on: str = "container.exited") -> None:
    (lab.state / "hooks.d/10-alert.toml").write_text("\n".join((f'on = "{on}"', f'url = "{url}"', *lines)) + "\n")
    eventually(lambda: "ready" in lab.hawse("hook", "ls").out)


def runs(lab: Lab) -> list[dict[str, Any]]:
    """Those that have ended, oldest first."""
    found = json.loads(lab.hawse("hook", "runs", "10-alert.toml", "--format", "json").out)
    return [run for run in reversed(found) if run["outcome"]]


def touch(lab: Lab, *names: str) -> None:
    for name in names:
        lab.hawse("run", "--rm", "--name", name, "--network", "none", "busybox", "true")


def secret(lab: Lab, text: str) -> str:
    file = lab.share / "secret"
    file.write_text(text)
    file.chmod(0o600)
    return f'secret_file = "{file}"'


def test_over_a_unix_socket_signed_and_repeated(lab: Lab, receiving: Callable[..., Any]) -> None:
    socket = lab.share / "hook.sock"
    with receiving(socket, "Jefe", codes="503") as receiver:
        declare(lab, f"unix://{socket}:/alert", secret(lab, "Jefe\n"), "timeout = 100")
        before = len(runs(lab))
        touch(lab, "web")
        eventually(lambda: [run["outcome"] for run in runs(lab)[before:]] == ["failed", "succeeded"])
        (path, first, event), (_, second, again) = receiver.posts
    assert path == "/alert" and event == again
    assert event["specversion"] == "1.0" and event["type"] == "container.exited"
    assert event["data"]["container"]["name"] == "web"
    assert [first["Hawse-Attempt"], second["Hawse-Attempt"]] == ["1", "2"]
    assert first["Content-Type"] == "application/cloudevents+json; charset=utf-8"


def test_a_wrong_secret_is_refused_by_the_receiver(lab: Lab, receiving: Callable[..., Any]) -> None:
    with receiving("9096", "right"):
        declare(lab, "http://127.0.0.1:9096/", secret(lab, "wrong"), "retries = 0")
        before = len(runs(lab))
        touch(lab, "web")
        eventually(lambda: [run["output"] for run in runs(lab)[before:]] == ["HTTP 401"])
        eventually(lambda: json.loads(lab.hawse("hook", "ls", "--format", "json").out)[0]["Dead"])
        secret(lab, "right")
        lab.hawse("hook", "retry", "10-alert.toml")
        eventually(lambda: runs(lab)[-1]["outcome"] == "succeeded")


def test_410_is_permanent_and_redirects_are_not_followed(lab: Lab, receiving: Callable[..., Any]) -> None:
    with receiving("9096", codes="302 410") as receiver:
        declare(lab, "http://127.0.0.1:9096/")
        before = len(runs(lab))
        touch(lab, "web")
        eventually(lambda: json.loads(lab.hawse("hook", "ls", "--format", "json").out)[0]["Dead"])
        assert [run["output"] for run in runs(lab)[before:]] == ["HTTP 302", "HTTP 410"]
        assert len(receiver.posts) == 2


def test_https_trusts_whom_it_is_told_to_and_nobody_else(lab: Lab, receiving: Callable[..., Any]) -> None:
    key, certificate = lab.share / "key.pem", lab.share / "ca.pem"
    lab.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ]
    )
    both = lab.share / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    with receiving("9443", "", both) as receiver:
        declare(lab, "https://127.0.0.1:9443/x", "retries = 0")
        before = len(runs(lab))
        touch(lab, "stranger")
        (run,) = eventually(lambda: runs(lab)[before:])
        assert run["outcome"] == "failed" and "certificate verify failed" in run["output"]
        assert not receiver.posts
        declare(lab, "https://127.0.0.1:9443/x", f'ca_file = "{certificate}"', on="container.created")
        eventually(lambda: "container.created" in lab.hawse("hook", "ls").out)
        touch(lab, "known")
        eventually(lambda: runs(lab)[-1]["outcome"] == "succeeded")
        assert [document["data"]["container"]["name"] for _, _, document in receiver.posts] == ["known"]
        declare(lab, "https://localhost:9443/x", f'ca_file = "{certificate}"', "retries = 0", on="container.started")
        eventually(lambda: "container.started" in lab.hawse("hook", "ls").out)
        touch(lab, "misnamed")
        eventually(lambda: "failed" in runs(lab)[-1]["outcome"])
        assert len(receiver.posts) == 1, "the certificate is for another name"


def test_a_batch_is_what_came_while_the_last_request_was_under_way(lab: Lab, receiving: Callable[..., Any]) -> None:
    socket = lab.share / "batch.sock"
    with receiving(socket, "Jefe") as receiver:
        receiver.hold.touch()
        declare(lab, f"unix://{socket}:/", "batch = true", secret(lab, "Jefe"), "timeout = 100")
        touch(lab, "b0")
        eventually(lambda: receiver.posts)
        touch(lab, "b1", "b2", "b3")
        names = json.loads(lab.hawse("hook", "ls", "--format", "json").out)
        eventually(lambda: lab.hawse("hook", "runs", "10-alert.toml").out.count("running") == 4)
        receiver.hold.unlink()
        eventually(lambda: [run["outcome"] for run in runs(lab)[-4:]] == ["succeeded"] * 4)
        posts = receiver.posts
    assert names[0]["Kind"] == "webhook"
    assert {headers["Content-Type"] for _, headers, _ in posts} == {"application/cloudevents-batch+json; charset=utf-8"}
    assert [[event["data"]["container"]["name"] for event in batch] for _, _, batch in posts] == [
        ["b0"],
        ["b1", "b2", "b3"],
    ]


def test_one_that_is_down_for_as_long_as_events_are_kept(bare_lab: Lab) -> None:
    """It is told of what it missed, and stops neither the pruning nor other hooks."""
    lab = bare_lab
    (lab.state / "hawse.toml").write_text("journal_max_age = 5\n")
    (hooks := lab.state / "hooks.d").mkdir(exist_ok=True)
    (hooks / "10-alert.toml").write_text(
        f'on = "network.created"\nurl = "unix://{lab.share}/nobody:/"\nretries = 1000\n'
    )
    (hooks / "20-other.toml").write_text('on = "network.created"\ncommand = ["/bin/true"]\n')
    lab.daemon.start()
    begun = json.loads(lab.hawse("events", "-n", "1", "--no-follow", "--format", "json").out)["id"]
    lab.hawse("network", "create", "one")
    waiting = ("events", "-f", "type=hook.dead", "--until-match", "--since", "1h", "--format", "json")
    out = lab.hawse(*waiting).out
    dead = json.loads(out)
    assert dead["data"]["handler"] == "hook:10-alert.toml"
    assert "for as long as events are kept" in dead["data"]["detail"]
    assert lab.daemon.request("GET", f"/hawse/v1/events?after={begun}")[0] == 410, "the journal was pruned all the same"
    eventually(lambda: {h["Lag"] for h in json.loads(lab.hawse("hook", "ls", "--format", "json").out)} == {0})
    mine = runs(lab)
    assert mine and {run["outcome"] for run in mine} == {"failed"}
    other = json.loads(lab.hawse("hook", "runs", "20-other.toml", "--format", "json").out)
    assert [run["outcome"] for run in other] == ["succeeded"]
