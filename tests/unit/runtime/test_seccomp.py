"""The compiled seccomp filter, asked by making the calls under it in a process of its own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hawse.supervisor.runtime import seccomp

PROBE = """
import ctypes, errno, json, os, socket, sys
PARENT = os.getpid()
from hawse.supervisor.linux import syscalls
program = open(sys.argv[1], "rb").read()
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
syscalls.install_seccomp(program)
def ask(number, *args):
    result = syscalls.libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    if os.getpid() != PARENT:
        os._exit(0)  # clone
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "ok"
X = os.uname().machine == "x86_64"
def family(number):
    try:
        socket.socket(number, socket.SOCK_SEQPACKET).close()
    except OSError as e:
        return errno.errorcode[e.errno]
    return "ok"
print(json.dumps({
    "getpid": ask(39 if X else 172),
    "keyctl": ask(250 if X else 219, 0, 0),
    "unshare": ask(272 if X else 97, 0),
    "mount": ask(165 if X else 40, 0, 0, 0, 0, 0),
    "clone": ask(56 if X else 220, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": ask(435, 0, 0),
    "io_uring_setup": ask(425, 1, 0),
    "from the future": ask(900),
    "personality 0": ask(135 if X else 92, 0xFFFFFFFF),
    "personality odd": ask(135 if X else 92, 0x0040000),
    "unix": family(1),
    "alg": family(38),
    "vsock": family(40),
    "vsock in the low word": ask(41 if X else 198, 40 | 1 << 32, 1, 0),
    "alg in the low word": ask(41 if X else 198, 38 | 1 << 32, 5, 0),
    "unix in the low word": ask(41 if X else 198, 1 | 1 << 32, 1, 0),
    "personality odd in the low word": ask(135 if X else 92, 0x0040000 | 1 << 32),
}))
"""
# socketcall(SYS_SOCKET, {AF_VSOCK, SOCK_STREAM, 0}), as a 32-bit program calls the kernel
SOCKETCALL = """
import ctypes, mmap, struct, sys
from hawse.supervisor.linux import syscalls
MAP_32BIT = 0x40
page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
code = b"\\x53\\xb8" + struct.pack("<I", 102) + b"\\xbb" + struct.pack("<I", 1) + b"\\xb9" + struct.pack("<I", address + 64)
page[:64] = (code + b"\\xcd\\x80\\x5b\\xc3").ljust(64, b"\\x90")
page[64:76] = struct.pack("<3I", 40, 1, 0)
if sys.argv[1:]:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.install_seccomp(open(sys.argv[1], "rb").read())
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""


def ask(path: str) -> dict[str, str]:
    done = subprocess.run([sys.executable, "-c", PROBE, path], capture_output=True, text=True, check=True)
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def test_the_default_profile(tmp_path: Path) -> None:
    assert ask(seccomp.default_profile(tmp_path)) == {
        "getpid": "ok",
        "keyctl": "EPERM",
        "unshare": "EPERM",
        "mount": "EPERM",
        "clone": "EPERM",
        "clone3": "ENOSYS",
        "io_uring_setup": "EPERM",
        "from the future": "ENOSYS",
        "personality 0": "ok",
        "personality odd": "EPERM",
        "unix": "ok",
        "alg": "EPERM",
        "vsock": "EPERM",
        "vsock in the low word": "EPERM",
        "alg in the low word": "EPERM",
        "unix in the low word": "ok",
        "personality odd in the low word": "EPERM",
    }


def test_a_family_behind_a_pointer(tmp_path: Path) -> None:
    def call(*filters: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", SOCKETCALL, *filters], capture_output=True, text=True, check=False)

    if os.uname().machine != "x86_64" or call().returncode:
        pytest.skip("this machine runs no 32-bit programs of the i386 kind")
    assert call(seccomp.default_profile(tmp_path)).stdout.split() == [str(-errno.ENOSYS)]


def test_a_capability_brings_its_calls(tmp_path: Path) -> None:
    answers = ask(seccomp.default_profile(tmp_path, ["CAP_SYS_ADMIN", "CAP_CHOWN"]))
    assert answers["unshare"] == "ok"
    assert answers["mount"] == "EFAULT"
    assert answers["clone3"] == "EINVAL"
    assert answers["keyctl"] == "EPERM"


def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seccomp.default_profile(tmp_path, ["CAP_CHOWN"])
    monkeypatch.setattr(seccomp, "compile_profile", None)
    assert seccomp.default_profile(tmp_path, ["CAP_KILL"]) == first  # those change nothing
    with pytest.raises(TypeError):
        seccomp.default_profile(tmp_path, ["CAP_SYSLOG"])
    assert [p.suffix for p in (tmp_path / "seccomp").iterdir()] == [".bpf"]


def test_no_name_is_misspelt() -> None:
    """A typo would silently forbid a call: every name is one of the kernel's, of some architecture."""
    import pyseccomp

    newer = {"mseal", "map_shadow_stack", "futex_requeue", "futex_wait", "futex_wake"}
    granted = [name for names in seccomp.WITH_CAPABILITY.values() for name in names.split()]
    for name in {*seccomp.ALLOWED, *granted} - newer:
        assert pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) != -1, name
    assert len(seccomp.ALLOWED) == len(set(seccomp.ALLOWED))
