"""The engines as the benchmark drives them: how each is started, told and asked.  Standard library only.

Runs inside a world (worlds.py): its own network namespace, for the peers also their own root directory.  All three speak
Docker's API on a socket and Docker's verbs on the command line, so one description drives them; what differs is here.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE = "bench:latest"


class Api(http.client.HTTPConnection):
    """One kept-alive connection to an engine's unix socket."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer.  Raises RuntimeError with the engine's own words for a status from 400 on."""
        payload = None if body is None else json.dumps(body)
        self.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[-300:].decode(errors='replace')}")
        return json.loads(text) if text.startswith((b"{", b"[")) else text


@dataclass
class Engine:
    """A running engine.  `remove` is its verb for ending containers at once, `processes` names its own processes."""

    name: str
    cli: list[str]
    socket: str
    server: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=lambda: ["rm", "-f"])
    processes: tuple[str, ...] = ()
    version: str = "version"
    child: subprocess.Popen[bytes] | None = None

    def start(self, archive: str) -> None:
        """Start the server, wait until it answers, import the image."""
        if self.server:
            with open(f"/tmp/bench-{self.name}.log", "ab") as log:
                self.child = subprocess.Popen(
                    self.server, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.api().call("GET", "/_ping")
                break
            except (OSError, http.client.HTTPException, RuntimeError):
                if time.monotonic() > deadline or (self.child and self.child.poll() is not None):
                    log_text = Path(f"/tmp/bench-{self.name}.log").read_text(errors="replace")
                    raise RuntimeError(f"{self.name} does not answer: {log_text[-1500:]}") from None
                time.sleep(0.02)
        verb = ["image", "import"] if self.name == "hawse" else ["import"]
        run([*self.cli, *verb, archive, IMAGE])

    def stop(self) -> None:
        """Remove what is left, end the server."""
        with suppress(RuntimeError, OSError, subprocess.TimeoutExpired):
            left = run([*self.cli, "ps", "-aq"]).split()
            if left:
                run([*self.cli, *self.remove, *left])
        if self.child:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def api(self) -> Api:
        return Api(self.socket)

    def create(self, api: Api, name: str, command: list[str], port: int | None = None, network: str = "bridge") -> str:
        """Create a container through the API, with container port 80 published when `port` is given."""
        host: dict[str, Any] = {"NetworkMode": network}
        body: dict[str, Any] = {"Image": IMAGE, "Cmd": command, "HostConfig": host}
        if port is not None:
            body["ExposedPorts"] = {"80/tcp": {}}
            host["PortBindings"] = {"80/tcp": [{"HostPort": str(port)}]}
        return str(api.call("POST", f"/containers/create?name={name}", body)["Id"])

    def describe(self) -> str:
        """Its version, for the record of a run."""
        return str(self.api().call("GET", "/version")["Version"])

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Subscribe to the event stream: yields decoded events as they come."""
        api = self.api()
        api.request("GET", "/events")
        answer = api.getresponse()

        def read() -> Iterator[dict[str, Any]]:
            while line := answer.readline():
                if line.strip():
                    yield json.loads(line)

        try:
            yield read()
        finally:
            # readline() in another thread holds the buffer's lock: the shutdown is what ends it
            with suppress(OSError):
                api.sock.shutdown(socket.SHUT_RDWR)


def run(argv: list[str], timeout: float = 300) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)[:300]}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def docker(data: str) -> Engine:
    return Engine(
        name="docker",
        cli=["docker"],
        socket="/var/run/docker.sock",
        server=[
            *(
                "dockerd",
                "--data-root",
                f"{data}/docker",
                "--exec-root",
                "/run/docker",
                "--pidfile",
                "/run/dockerd.pid",
            ),
            *("-H", "unix:///var/run/docker.sock", "--storage-driver", "overlay2"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--iptables=true"),
        ],
        processes=("dockerd", "containerd", "docker-proxy"),
    )


def podman(data: str) -> Engine:
    """Root podman with crun and netavark; its API service only serves the rows that go through the API."""
    # default_ulimits: without CAP_SYS_RESOURCE podman's own raise of nofile and nproc fails
    Path("/tmp/containers.conf").write_text(
        '[containers]\ndefault_ulimits=["nofile=20000:20000","nproc=90000:90000"]\nlog_driver="k8s-file"\n'
        '[engine]\ncgroup_manager="cgroupfs"\nruntime="crun"\nevents_logger="file"\n'
        '[network]\nnetwork_backend="netavark"\nfirewall_driver="nftables"\n'
    )
    Path("/tmp/storage.conf").write_text(
        f'[storage]\ndriver="overlay"\ngraphroot="{data}/podman"\nrunroot="/run/podman-storage"\n'
    )
    policy = Path("/etc/containers/policy.json")
    if not policy.exists():
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    os.environ.update(
        CONTAINERS_CONF="/tmp/containers.conf",
        CONTAINERS_STORAGE_CONF="/tmp/storage.conf",
        PODMAN_IGNORE_CGROUPSV1_WARNING="1",
    )
    return Engine(
        name="podman",
        cli=["podman"],
        socket="/run/podman.sock",
        server=["podman", "system", "service", "--time", "0", "unix:///run/podman.sock"],
        # plain `rm -f` first gives the program 10 s to heed SIGTERM; docker's and hawse's kill at once
        remove=["rm", "-f", "-t", "0"],
        processes=("conmon", "aardvark-dns", "rootlessport", "netavark"),
    )


def hawse(data: str) -> Engine:
    """hawse, from HAWSE_BENCH_CLI (default: on PATH); where it lives comes from the HAWSE_* variables of the lab."""
    command = os.environ.get("HAWSE_BENCH_CLI", "hawse").split()
    os.environ.setdefault("HAWSE_ROOT", f"{data}/hawse")
    os.environ.setdefault("HAWSE_RUN_DIR", "/run/hawse")
    os.environ["HAWSE_AUTOSTART"] = "0"
    return Engine(
        name="hawse",
        cli=command,
        socket=os.environ.get("HAWSE_HOST", f"{os.environ['HAWSE_RUN_DIR']}/hawse.sock").removeprefix("unix://"),
        server=[*command, "daemon"],
        processes=("hawse-spawner", "hawse-shim"),
    )


ENGINES = {"hawse": hawse, "docker": docker, "podman": podman}
