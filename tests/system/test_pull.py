"""`hawse pull`, from Debian's docker-registry in the lab, judged by what runs afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from tests.lab import ociimage
from tests.lab.registries import PLAIN, PROXY, SECURE, Registries
from tests.system.test_crash_points import POINTS, PULLS


@pytest.fixture
def registries(lab: Lab) -> Iterator[Registries]:
    """In the lab of the daemon."""
    made = Registries(lab)
    yield made
    made.end()


@pytest.fixture
def registry(registries: Registries) -> str:
    """What the repositories of the plain one begin with."""
    return f"{PLAIN}/team"


def push(lab: Lab, layout: Path, name: str) -> None:
    lab.run(["skopeo", "copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{layout}", f"docker://{name}"])


@pytest.fixture
def box(lab: Lab, registry: str) -> tuple[str, str]:
    """The name and the digest of an image with three layers, the lowest of which runs."""
    noise = random.Random(1).randbytes(300_000)
    layers = [
        busybox_tar().read_bytes() + bytes(512),  # else it would be the layer that the lab's own image has
        ociimage.layer({"etc/one": b"1\n", "etc/two": b"2\n", "big": noise}),
        ociimage.layer({"etc/.wh.two": b"", "etc/three": b"3\n"}),
    ]
    digest = ociimage.layout(lab.share / "box", layers, Cmd=["cat", "/etc/one", "/etc/three"], Env=["FROM=registry"])
    push(lab, lab.share / "box", f"{registry}/box:latest")
    return f"{registry}/box", digest


def test_what_is_pulled_runs(lab: Lab, box: tuple[str, str]) -> None:
    name, digest = box
    shown = lab.hawse("pull", name)
    lines = shown.out.splitlines()
    assert lines[0] == "Using default tag: latest" and lines[1] == "latest: Pulling from team/box"
    assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}:latest", f"{name}:latest"]
    assert sum(line.endswith(": Pull complete") for line in lines) == 3
    assert lab.hawse("run", "--rm", name).out == "1\n3\n"
    assert lab.hawse("run", "--rm", name, "sh", "-c", "echo $FROM; ls /etc/one /etc/two", check=False).out.split() == [
        "registry",
        "/etc/one",
    ]
    (image,) = json.loads(lab.hawse("image", "inspect", name).out)
    told = json.loads((lab.share / "box/blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    assert image["Id"] == told["config"]["digest"] and image["RepoDigests"] == [f"{name}@{digest}"]
    assert image["Created"].startswith("2026-01-02T03:04:05.678")
    again = lab.hawse("pull", f"{name}:latest")
    assert f"Status: Image is up to date for {name}:latest" in again.out
    assert lab.hawse("run", "--rm", f"{name}@{digest}", "cat", "/etc/one").out == "1\n"
    lab.hawse("rmi", name)
    assert list((lab.root / "layers").iterdir()) and not list((lab.root / "blobs/sha256").iterdir())


def test_run_pulls_what_is_missing(lab: Lab, box: tuple[str, str]) -> None:
    name, _ = box
    refused = lab.hawse("run", "--rm", "--pull", "never", name, check=False)
    assert refused.code == 125 and "No such image" in refused.err
    shown = lab.hawse("run", "--rm", name)
    assert shown.out == "1\n3\n"
    assert f"Unable to find image '{name}:latest' locally" in shown.err and "Pull complete" in shown.err
    lab.hawse("rmi", name)


def test_what_is_not_there(lab: Lab, registry: str) -> None:
    for name in (f"{registry}/nothing", f"{registry}/nothing@sha256:{'0' * 64}"):
        shown = lab.hawse("pull", name, check=False)
        assert shown.code == 1 and "not found" in shown.err
    assert not list((lab.root / "blobs/partial").iterdir())


def test_what_a_registry_has_is_told(lab: Lab, box: tuple[str, str]) -> None:
    name, digest = box
    status, body = lab.daemon.request("GET", f"/distribution/{name}/json")
    assert status == 200 and json.loads(body)["Descriptor"]["digest"] == digest


def test_a_pull_that_a_kill_cuts_off_is_gone_on_with(lab: Lab, box: tuple[str, str]) -> None:
    """What was whole is not fetched again, and nothing of it is left when the image goes."""
    name, _ = box
    for point in (point for point in POINTS if point.startswith(PULLS)):
        lab.daemon.kill9()
        lab.daemon.start(env={"HAWSE_FAULT": point})
        cut = lab.hawse("pull", name, check=False)
        assert cut.code != 0, point
        lab.daemon.wait_dead()
        lab.daemon.start()
        assert list((lab.root / "blobs").rglob("*")) and "Downloaded newer" in lab.hawse("pull", name).out, point
        assert lab.hawse("run", "--rm", name).out == "1\n3\n"
        lab.hawse("rmi", name)
    eventually(lambda: lab.hawse("audit"))


def test_what_was_pulled_is_pushed_byte_for_byte(lab: Lab, box: tuple[str, str]) -> None:
    name, digest = box
    lab.hawse("pull", "-q", name)
    other = f"{PLAIN}/elsewhere/box:2"
    lab.hawse("tag", name, other)
    shown = lab.hawse("push", other)
    assert shown.out.splitlines()[0] == f"The push refers to repository [{PLAIN}/elsewhere/box]"
    assert f"2: digest: {digest} size: " in shown.out and "Mounted from team/box" in shown.out
    raw = [
        lab.run(["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{one}"]).out for one in (name, other)
    ]
    assert raw[0] == raw[1]
    again = lab.hawse("push", other)
    assert again.out.count("Layer already exists") == 3
    lab.hawse("rmi", name, other)
    missing = lab.hawse("push", f"{PLAIN}/elsewhere/nothing", check=False)
    assert missing.code == 1 and "An image does not exist locally with the tag" in missing.err


def test_no_byte_is_fetched_twice(lab: Lab, registries: Registries, box: tuple[str, str]) -> None:
    """By a pull that is cut again and again, by one whose daemon is killed, and by a third that has it all."""
    name, _ = box
    faulty = name.replace(PLAIN, f"{PROXY}/cut-100")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": "pull.blob-whole"})
    registries.log()
    assert lab.hawse("pull", faulty, check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    lab.hawse("pull", faulty)
    served: dict[str, int] = {}
    for asked in registries.log():
        if asked["method"] == "GET" and "/blobs/" in asked["path"]:
            digest = asked["path"].rpartition("/")[2]
            served[digest] = served.get(digest, 0) + asked["served"]
    described = json.loads(registries.raw(f"{name}:latest", "--tls-verify=false"))
    for layer in described["layers"]:
        assert served[layer["digest"]] <= layer["size"] + (100 << 10), (
            "what was in the kernel's buffers at the kill, at most"
        )
    lab.hawse("rmi", faulty)


def test_login(lab: Lab, registries: Registries, box: tuple[str, str]) -> None:
    """A registry with TLS and a password; the file is docker's, for nobody else to read."""
    name, _ = box
    config = {"DOCKER_CONFIG": str(lab.share / "docker")}
    private = f"{SECURE}/team/box"
    lab.run(
        [
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--dest-creds=tester:secret",
            f"docker://{name}:latest",
            f"docker://{private}:latest",
        ]
    )
    refused = lab.hawse("pull", private, check=False, env=config)
    assert refused.code == 1 and "docker login" in refused.err
    wrong = lab.hawse("login", "-u", "tester", "--password-stdin", SECURE, input="wrong", check=False, env=config)
    assert wrong.code == 1 and "incorrect username or password" in wrong.err
    right = lab.hawse("login", "-u", "tester", "--password-stdin", SECURE, input="secret\n", env=config)
    assert right.out == "Login Succeeded\n" and "unencrypted" in right.err
    file = lab.share / "docker/config.json"
    assert file.stat().st_mode & 0o777 == 0o600 and SECURE in json.loads(file.read_text())["auths"]
    lab.hawse("pull", private, env=config)
    lab.hawse("rmi", private)
    assert lab.hawse("logout", SECURE, env=config).out == f"Removing login credentials for {SECURE}\n"
    assert lab.hawse("pull", private, check=False, env=config).code == 1
