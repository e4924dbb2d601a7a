"""Roots with programs in them: a Debian for containers with real servers, a newer one for the tests themselves (trixie.py).

Made once per machine.  It takes a minute of downloads; it is kept under /var/cache (or .cache where that cannot be
written), named after its release and the list of its packages, and never written to afterwards.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"
MACHINE_CACHE = Path("/var/cache/hawse-test-roots")
ATTEMPTS = 3  # a mirror may be unreachable for a moment
DEBIAN_PACKAGES = ("nginx-light", "redis-server", "postgresql")


def debian_root(packages: tuple[str, ...] = DEBIAN_PACKAGES, suite: str = "") -> Path:
    """A minimal Debian of this machine's release, or of `suite`, with `packages`; shared by everyone and only read.

    Raises RuntimeError with the end of debootstrap's log.
    """
    key = hashlib.sha256(" ".join(("minbase", *packages)).encode()).hexdigest()[:12]
    name = f"{suite or 'debian'}-{key}"
    cache = MACHINE_CACHE
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = CACHE / "roots"
        cache.mkdir(parents=True, exist_ok=True)
    root = cache / name
    with (cache / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not root.exists():
            sys.stderr.write(
                f"making a Debian root ({suite or 'this release'}) with {', '.join(packages)} in {root}, "
                "once: about a minute\n"
            )
            partial = cache / f"{name}.partial"
            for attempt in range(1, ATTEMPTS + 1):
                if partial.exists():
                    shutil.rmtree(partial)
                try:
                    _debootstrap(partial, packages, suite)
                    break
                except RuntimeError as e:
                    if attempt == ATTEMPTS:
                        raise
                    sys.stderr.write(f"{e}\nonce more\n")
            partial.rename(root)
    return root


def _debootstrap(target: Path, packages: tuple[str, ...], suite: str) -> None:
    """In a mount namespace of its own: debootstrap mounts /proc in the target."""
    suite, mirror, components = _distribution(suite)
    log = target.with_suffix(".log")
    command = [
        *("unshare", "--mount", "--pid", "--fork", "--propagation", "private"),
        *("debootstrap", "--variant=minbase", f"--components={components}", f"--include={','.join(packages)}"),
        *(suite, str(target), mirror),
    ]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    if proxy := _apt("Acquire::http::Proxy"):
        environment.setdefault("http_proxy", proxy)
    with log.open("wb") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, timeout=900, check=False
        )
    if done.returncode:
        raise RuntimeError(f"debootstrap failed ({done.returncode}): {log.read_text()[-2000:]}")
    shutil.rmtree(target / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(target / "var/lib/apt/lists", ignore_errors=True)
    (target / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # no service starts by being installed
    (target / "usr/sbin/policy-rc.d").chmod(0o755)


def _distribution(suite: str) -> tuple[str, str, str]:
    """(suite, mirror, components), by default of this machine's own release; the mirror is from its apt sources."""
    release = dict(
        line.replace('"', "").split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    if suite and release.get("ID") != "debian":
        return suite, "http://deb.debian.org/debian", "main"
    own = release.get("VERSION_CODENAME", "bookworm")
    apt = Path("/etc/apt")
    text = "\n".join(
        p.read_text()
        for p in (*apt.glob("sources.list"), *apt.glob("sources.list.d/*"))
        if p.suffix in (".list", ".sources")
    )
    uris = re.findall(r"^URIs:\s*(\S+)|^deb\s+(?:\[.*?\]\s+)?(\S+)\s+" + re.escape(own), text, re.MULTILINE)
    mirrors = [a or b for a, b in uris if "security" not in (a or b) and release.get("ID", "") in (a or b)]
    default = "http://archive.ubuntu.com/ubuntu" if release.get("ID") == "ubuntu" else "http://deb.debian.org/debian"
    return suite or own, (mirrors or [default])[0], "main,universe" if release.get("ID") == "ubuntu" else "main"


def debian_mirror(suite: str) -> str:
    """Where this machine gets the packages of that release of Debian."""
    return _distribution(suite)[1]


def _apt(key: str) -> str:
    shown = subprocess.run(["apt-config", "shell", "value", key], capture_output=True, text=True, check=False).stdout
    return shown.partition("'")[2].rpartition("'")[0]
