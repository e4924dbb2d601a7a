"""Debian's docker-registry in a lab, plain and with TLS and a password, with the fault proxy and the token server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from hawse.cli.selftest.lab import REPOSITORY, Lab
from hawse.cli.selftest.machine import CLONE_NEWNET, setns
from hawse.cli.selftest.waiting import eventually
from hawse.supervisor.images.registry import platforms
from hawse.supervisor.images.registry.client import Client
from hawse.supervisor.images.registry.credentials import NOBODY, Credentials
from hawse.supervisor.images.registry.download import Progress
from hawse.supervisor.images.registry.endpoints import Access
from hawse.supervisor.images.registry.manifests import Image
from hawse.supervisor.images.registry.media import OCI_CONFIG, OCI_MANIFEST, Descriptor
from hawse.supervisor.images.registry.reference import Reference, parse

T = TypeVar("T")
SIZES = (5 << 20, 3_000_001, 70_000)
"""Of the layers of the image that most tests are about."""
PLAIN, SECURE, PROXY, TOKENS = "127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003"
AMD64 = platforms.of_machine("x86_64")
TESTER = Credentials(username="tester", password="secret")
_HTPASSWD = (
    "tester:$2b$04$52w5NCEl3ZCi9esxUFpaJOpnuuAoXb9febGCN2D/AnC54UI/ldUAi\n"  # bcrypt, all that the registry takes
)


class Registries:
    """All of them, on the loopback of the lab's host; they end with the lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.directory = lab, lab.share
        self._serving: list[subprocess.Popen[bytes]] = []
        self.lab.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", self.directory / "key.pem", "-out", self.directory / "cert.pem"),
            ]
        )
        (self.directory / "htpasswd").write_text(_HTPASSWD)
        self._serve(PLAIN, "plain")
        tls = {"certificate": str(self.directory / "cert.pem"), "key": str(self.directory / "key.pem")}
        self._serve(SECURE, "secure", tls=tls)
        self._python("faultproxy", PROXY.partition(":")[2], f"http://{PLAIN}", f"http://{TOKENS}/token")
        self._python("tokenserver", TOKENS.partition(":")[2])
        for address in (PLAIN, SECURE, PROXY, TOKENS):
            eventually(lambda address=address: self._listens(address))  # type: ignore[misc]

    def _listens(self, address: str) -> bool:
        host, _, port = address.partition(":")
        self.lab.host.connect(host, int(port)).close()
        return True

    def _serve(self, address: str, name: str, tls: dict[str, str] | None = None) -> None:
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / name)}},
            "http": {"addr": address, "relativeurls": True, "secret": "lab", **({"tls": tls} if tls else {})},
        }
        if tls:
            config["auth"] = {"htpasswd": {"realm": "lab", "path": str(self.directory / "htpasswd")}}
        file = self.directory / f"{name}.yml"
        file.write_text(json.dumps(config))  # which is YAML
        self._start(name, ["docker-registry", "serve", file])

    def _python(self, module: str, *arguments: str) -> None:
        self._start(module, [sys.executable, "-m", f"tests.lab.{module}", *arguments])

    def _start(self, name: str, argv: list[str | Path]) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self._serving.append(self.lab.popen(argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def end(self) -> None:
        """End them before the lab does."""
        for one in self._serving:
            one.kill()
            one.wait()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it on the lab's host: an event loop in a thread whose sockets are there (setns(2) is for one thread)."""
        done: list[T] = []
        failed: list[BaseException] = []

        async def awaited() -> T:
            return await work()

        def run() -> None:
            try:
                fd = os.open(self.lab.host.namespace, os.O_RDONLY | os.O_CLOEXEC)
                setns(fd, CLONE_NEWNET)
                os.close(fd)
                done.append(asyncio.run(awaited()))
            except BaseException as e:
                failed.append(e)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    def log(self, address: str = PROXY) -> list[dict[str, Any]]:
        """What was asked there since the last time."""
        host, _, port = address.partition(":")
        told: list[dict[str, Any]] = json.loads(self.lab.host.get(host, int(port), "/log"))
        return told

    def raw(self, name: str, *options: str) -> bytes:
        """A manifest as skopeo gets it."""
        return self.lab.run(["skopeo", "inspect", "--raw", *options, f"docker://{name}"]).stdout


class Pushed:
    """An image of random bytes: layers in files, and what describes them."""

    def __init__(self, directory: Path, sizes: tuple[int, ...]) -> None:
        self.files: dict[str, Path] = {}
        self._directory = directory
        directory.mkdir(exist_ok=True)
        layers = [self.add(os.urandom(size), "application/vnd.oci.image.layer.v1.tar") for size in sizes]
        config = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        described = self.add(json.dumps(config).encode(), OCI_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": layers}
        self.blobs = [
            Descriptor(media_type=each["mediaType"], digest=each["digest"], size=each["size"])
            for each in (described, *layers)
        ]
        """The configuration, then the layers."""
        self.manifest = json.dumps(manifest).encode()
        self.digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.files[digest] = self._directory / digest.partition(":")[2]
        self.files[digest].write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}


async def push(image: Pushed, name: str, access: Access, credentials: Credentials = NOBODY) -> Reference:
    """All of it, by the client under test."""
    reference = parse(name)
    async with Client(reference.domain, access, credentials) as registry:
        for blob in image.blobs:
            await registry.push_blob(reference, blob, image.files[blob.digest])
        assert await registry.push_manifest(reference, image.manifest, OCI_MANIFEST) == image.digest
    return reference


async def pull(name: str, credentials: Credentials = NOBODY, access: Access | None = None) -> tuple[Image, bytes]:
    """The image of a name, and all bytes of its layers."""
    reference = parse(name)
    async with Client(reference.domain, access or Access(), credentials, silence=5) as registry:
        found = await registry.resolve(reference, AMD64)
        return found, b"".join(
            [await fetched(registry, reference, found, at) for at in range(len(found.manifest.layers))]
        )


async def fetched(
    registry: Client, reference: Reference, found: Image, at: int, progress: Progress | None = None
) -> bytes:
    pieces = registry.blob(reference, found.manifest.layers[at], progress or Progress())
    return b"".join([piece async for piece in pieces])


def content(image: Pushed) -> bytes:
    """Of all layers."""
    return b"".join(image.files[layer.digest].read_bytes() for layer in image.blobs[1:])
