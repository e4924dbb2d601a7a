"""A root for containers, made in milliseconds: busybox with all its applets, as a tar to import."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from hawse.cli.selftest.lab import CACHE

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
app:x:1000:
staff:x:50:app
nogroup:x:65534:
"""
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var", "var/log", "www")


def busybox_tar() -> Path:
    """A root with every busybox applet in /bin, users root, app (1000) and nobody, and a page in /www."""
    program = shutil.which("busybox")
    assert program, "busybox is not installed: run script/setup"
    binary = Path(program).read_bytes()
    key = hashlib.sha256(binary + Path(__file__).read_bytes()).hexdigest()[:12]
    tar = CACHE / "roots" / f"busybox-{key}.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
        partial = tar.with_suffix(f".{os.getpid()}")
        with tarfile.open(partial, "w") as archive:
            for name in DIRECTORIES:
                _add(archive, name, kind=tarfile.DIRTYPE, mode=0o755)
            _add(archive, "tmp", kind=tarfile.DIRTYPE, mode=0o1777)
            _add(archive, "home/app", kind=tarfile.DIRTYPE, mode=0o750, owner=1000)
            _add(archive, "bin/busybox", binary, mode=0o755)
            for applet in applets:
                if applet != "busybox":
                    _add(archive, f"bin/{applet}", kind=tarfile.SYMTYPE, mode=0o777, link="busybox")
            _add(archive, "etc/passwd", PASSWD.encode())
            _add(archive, "etc/group", GROUP.encode())
            _add(archive, "www/index.html", b"hello from busybox\n")
            _add(archive, "etc/not-a-program", b"not executable\n")
        partial.rename(tar)
    return tar


def _add(
    archive: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
    owner: int = 0,
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size, info.uid, info.gid = kind, mode, link, len(data), owner, owner
    archive.addfile(info, io.BytesIO(data))
