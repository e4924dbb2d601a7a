"""System calls that Python's os module lacks, as thin wrappers.  Stdlib only: the child side imports it.

A wrapper raises OSError whose `strerror` names the call and its target.  Nothing here decides anything.
Constants have the kernel's names.  Numbers from 424 on are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
CLONE_INTO_CGROUP = 0x200000000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWUTS = 0x04000000
CLONE_PARENT = 0x00008000
CLONE_PIDFD = 0x00001000
CLOSE_RANGE_CLOEXEC = 4
KEYCTL_JOIN_SESSION_KEYRING = 1
PR_CAPBSET_DROP = 24
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1
RENAME_NOREPLACE = 1
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_NO_XDEV = 0x01
SECCOMP_SET_MODE_FILTER = 1
_SIGCHLD = 17
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_ARM = os.uname().machine == "aarch64"
_NR_CAPGET = 90 if _ARM else 125
_NR_CAPSET = 91 if _ARM else 126
_NR_CLONE = 220 if _ARM else 56
_NR_KEYCTL = 219 if _ARM else 250
_NR_PIVOT_ROOT = 41 if _ARM else 155
_NR_RENAMEAT2 = 276 if _ARM else 316
_NR_SECCOMP = 277 if _ARM else 317
_NR_CLONE3 = 435
_NR_CLOSE_RANGE = 436
_NR_OPENAT2 = 437

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# PyDLL keeps the GIL: after clone3 both copies of the interpreter believe that they hold it, and both are right.
_with_gil = ctypes.PyDLL(None, use_errno=True)
_with_gil.syscall.restype = ctypes.c_long


def failure(op: str, target: str = "") -> OSError:
    """The error of the system call that just failed."""
    number = ctypes.get_errno()
    return OSError(number, f"{op}{f' {target}' if target else ''}: {os.strerror(number)}")


def syscall(op: str, number: int, *args: Any, target: str = "") -> int:
    """Integers are passed as longs, bytes as pointers to them.  Raises OSError."""
    result: int = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0:
        raise failure(op, target)
    return result


def prctl(option: int, argument: int | bytes) -> None:
    value = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    if libc.prctl(ctypes.c_int(option), value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
        raise failure("prctl", str(option))


def clone3(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    For single-threaded processes only.  With CLONE_PARENT the child is the caller's sibling.  `cgroup` is a descriptor of
    a v2 cgroup directory, -1 for the parent's.
    """
    pidfd = ctypes.c_int(-1)
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    end = 0 if flags & CLONE_PARENT else _SIGCHLD  # a sibling tells the parent as the caller will
    arguments = struct.pack(
        "=11Q", flags | CLONE_PIDFD, ctypes.addressof(pidfd), 0, 0, end, 0, 0, 0, 0, 0, max(cgroup, 0)
    )
    pid: int = _with_gil.syscall(ctypes.c_long(_NR_CLONE3), arguments, ctypes.c_long(len(arguments)))
    if pid < 0:
        raise failure("clone3")
    return (pid, pidfd.value) if pid else (0, -1)


def fork_sibling() -> tuple[int, int]:
    """Fork a sibling, into the caller's namespaces for children: (pid, pidfd) in the caller, (0, -1) in the sibling.

    By clone(2), which seccomp filters let through that answer ENOSYS to clone3.  For single-threaded processes only.
    """
    pidfd = ctypes.c_int(-1)
    # glibc's wrapper would be given a stack; with none, both go on here.  The pidfd's place is parent_tid's.
    arguments = (CLONE_PARENT | CLONE_PIDFD, 0, ctypes.addressof(pidfd), 0, 0)
    pid: int = _with_gil.syscall(ctypes.c_long(_NR_CLONE), *map(ctypes.c_long, arguments))
    if pid < 0:
        raise failure("clone")
    return (pid, pidfd.value) if pid else (0, -1)


def setns(fd: int, flags: int) -> None:
    """`fd` is a namespace or a pidfd; with a pidfd, several flags at once are entered together or not at all."""
    if libc.setns(fd, flags) < 0:
        raise failure("setns", hex(flags))


def unshare(flags: int) -> None:
    if libc.unshare(flags) < 0:
        raise failure("unshare", hex(flags))


def pivot_root(new: bytes, old: bytes) -> None:
    syscall("pivot_root", _NR_PIVOT_ROOT, new, old)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    syscall("close_range", _NR_CLOSE_RANGE, first, last, flags)


def openat2(dirfd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    return syscall("openat2", _NR_OPENAT2, dirfd, os.fsencode(path), how, len(how), target=path)


def rename_noreplace(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Raises FileExistsError instead of replacing anything (renameat2(2))."""
    names = os.fsencode(old), os.fsencode(new)
    syscall("rename", _NR_RENAMEAT2, AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE, target=str(new))


def syncfs(fd: int) -> None:
    """Return when all that was written to the file system of `fd` is on its disk (syncfs(2)).  Raises OSError."""
    if libc.syncfs(fd) < 0:
        raise failure("syncfs")


def set_hostname(name: str) -> None:
    raw = os.fsencode(name)
    if libc.sethostname(raw, len(raw)) < 0:
        raise failure("sethostname", name)


def set_domainname(name: str) -> None:
    raw = os.fsencode(name)
    if libc.setdomainname(raw, len(raw)) < 0:
        raise failure("setdomainname", name)


def permitted() -> int:
    """The permitted capabilities of the calling thread in its user namespace, as a bit mask."""
    data = ctypes.create_string_buffer(24)
    syscall("capget", _NR_CAPGET, struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0), data)
    words = struct.unpack("=6I", data.raw)
    return int(words[1] | words[4] << 32)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Capability sets of the calling thread, as bit masks."""
    sets = (effective, permitted, inheritable)
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", *(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    syscall("capset", _NR_CAPSET, header, data)


def new_session_keyring() -> None:
    """Leave the session keyring that was inherited for a new one, without a name (keyctl(2)).  A kernel may have no keys."""
    try:
        syscall("keyctl", _NR_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, 0)
    except OSError as e:
        if e.errno != errno.ENOSYS:
            raise


def install_seccomp(program: bytes) -> None:
    """Install a BPF program (an array of struct sock_filter).  Needs no_new_privs or CAP_SYS_ADMIN."""
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    syscall("seccomp", _NR_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, fprog)
