"""The worlds in which engines are measured: one lab each, for the peers with a root directory of their own.

Every engine has its own "host" and "client" network namespace, since docker's FORWARD policy alone would change what the
others' packets meet.  A peer is taken from PATH, or from HAWSE_BENCH_PEERS=DIR: a root directory (a debootstrap tree)
in which docker.io, podman, crun, runc, python3, nftables and iproute2 are installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hawse.cli.selftest.lab import REPOSITORY, Lab

HERE = Path(__file__).resolve().parent
SERVERS = {"docker": "dockerd", "podman": "podman"}

ENTER_ROOT = r"""
set -eu
root=$1 repo=$2 data=$3; shift 3
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
# crun refuses a hybrid layout whose v2 side has a controller; covered for this world only
[ -e sys/fs/cgroup/unified/cgroup.controllers ] && mount -t tmpfs tmpfs sys/fs/cgroup/unified
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/repo run/data run/lock
mount --bind "$repo" run/repo
mount --bind "$data" run/data
mkdir -p .old
pivot_root . .old
umount -l /.old
cd /run/repo
exec "$@"
"""


class World:
    """One engine in its lab; `call` has the hand inside measure, `client` runs a program on the other machine."""

    def __init__(self, engine: str, files: Files, peers: Path | None) -> None:
        self.engine = engine
        self.probe = files.probe
        self._hand: subprocess.Popen[bytes] | None = None
        self._cgroups = cgroup_children()
        self.lab = Lab()
        try:
            self._hand = self._spawn(files, peers if engine != "hawse" else None)
            self.version = self._answer()
        except BaseException:
            self.close()
            raise

    def _spawn(self, files: Files, root: Path | None) -> subprocess.Popen[bytes]:
        data = self.lab.state / "bench"
        data.mkdir()
        archive = shutil.copy(files.archive, data)
        python = ["python3", "-B", "-m", "tests.bench.inside", self.engine]
        argv = [*python, str(data), archive]
        if root:
            enter = ["unshare", "-m", "--propagation", "private", "sh", "-c", ENTER_ROOT, "enter"]
            inside = [*python, "/run/data", f"/run/data/{files.archive.name}"]
            argv = [*enter, str(root), str(REPOSITORY), str(data), *inside]
        env = {"HAWSE_BENCH_CLI": str(files.cli)}
        return self.lab.popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)

    def _answer(self) -> Any:
        assert self._hand and self._hand.stdout
        line = self._hand.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.engine}: the measuring process ended with status {self._hand.wait(10)}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.engine}: {answer['error']}")
        return answer["ok"]

    def call(self, operation: str, **arguments: Any) -> Any:
        """What the hand inside measured.  Raises RuntimeError with the engine's words."""
        assert self._hand and self._hand.stdin
        self._hand.stdin.write(json.dumps({"do": operation, "with": arguments}).encode() + b"\n")
        self._hand.stdin.flush()
        return self._answer()

    def client(self, argv: list[str]) -> str:
        """Standard output of a program run on the lab's client machine."""
        return self.lab.client.run(argv).out

    def close(self) -> None:
        """End engine and lab, and remove the cgroup parents that a peer left."""
        if self._hand:
            assert self._hand.stdin and self._hand.stdout
            with suppress(BrokenPipeError):
                self._hand.stdin.close()
            try:
                self._hand.wait(120)
            except subprocess.TimeoutExpired:
                self._hand.kill()
                self._hand.wait()
            self._hand.stdout.close()
        self.lab.close()
        for left in cgroup_children() - self._cgroups:
            if left.name in ("docker", "libpod_parent"):
                for directory, _, _ in os.walk(left, topdown=False):
                    with suppress(OSError):
                        os.rmdir(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a run is made of: the compiled programs and the image's root, as directory and as archive."""

    directory: Path
    probe: Path
    floor: Path
    root: Path
    archive: Path
    cli: Path  # hawse as its users have it


def install(directory: Path) -> Path:
    """The command of a hawse that is installed from a wheel.

    The repository's own is an editable install, whose import hook costs every start of the command line some 8 ms that no
    user pays; and a copy stays what it is while somebody edits the tree.
    """
    target = directory / "installed"
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        copy = Path(name, "source")  # setuptools leaves build/ where it builds
        unwanted = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "tests")
        shutil.copytree(REPOSITORY, copy, ignore=unwanted)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        here = ["--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "wheel", *here, "--wheel-dir", name, str(copy)], check=True)
        venv.create(target, symlinks=True)
        [wheel] = Path(name).glob("hawse-*.whl")
        subprocess.run([*pip, "--python", str(target / "bin/python"), "install", "--no-deps", str(wheel)], check=True)
    [site] = (target / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return target / "bin/hawse"


def build(directory: Path) -> Files:
    """Compile the programs and make the image: busybox and probe.  Needs a C compiler and a static busybox."""
    directory.mkdir(parents=True, exist_ok=True)
    for program in ("probe", "floor"):
        subprocess.run(
            [
                *(os.environ.get("CC", "cc"), "-O2", "-Wall", "-static", "-pthread"),
                *("-o", directory / program, HERE / f"{program}.c"),
            ],
            check=True,
        )
    busybox = shutil.which("busybox")
    if not busybox:
        raise RuntimeError("no busybox: apt install busybox-static")
    root = directory / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(directory / "probe", root / "bin/probe")
    for applet in ("sh", "true", "sleep", "cat", "ls"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    archive = directory / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    return Files(
        directory=directory,
        probe=directory / "probe",
        floor=directory / "floor",
        root=root,
        archive=archive,
        cli=install(directory),
    )


def installed(peers: Path | None) -> list[str]:
    """The peers that can be measured here."""
    found = []
    for engine, server in SERVERS.items():
        where = f"{peers}/usr/sbin:{peers}/usr/bin" if peers else None
        if shutil.which(server, path=where):
            found.append(engine)
    return found


def cgroup_children() -> set[Path]:
    """The top directories of every cgroup hierarchy."""
    return {child for child in Path("/sys/fs/cgroup").glob("*/*") if child.is_dir()}
