"""The seccomp filter that containers run under, compiled once and kept in a file.  Daemon side; the child only installs it.

The set of system calls follows docker's default profile (moby profiles/seccomp/default.json, read 2026-08): an allow list,
some calls by argument, some only with a capability.  What is not listed fails with EPERM; what this table is too old to know
fails with ENOSYS, so that the C library falls back instead of giving up.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hawse.supervisor.core.errors import Unavailable

ALLOWED = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
    flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat
    getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl ioprio_get
    ioprio_set lchown lchown32 lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
    mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64
    pwritev pwritev2 read readahead readdir readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile
    sendfile64 setxattr splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate
    truncate64 umask unlink unlinkat ustat utime utimensat utimensat_time64 utimes vmsplice write writev
    landlock_add_rule landlock_create_ruleset landlock_restrict_self

    brk get_thread_area madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
    mmap2 modify_ldt mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_mrelease remap_file_pages set_thread_area

    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select

    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketpair

    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

    alarm kill nanosleep pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction
    sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill

    clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
    gettimeofday setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times

    adjtimex clock_adjtime clock_adjtime64
    arch_prctl capget capset execve execveat exit exit_group fork get_robust_list getcpu getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
    getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 prctl prlimit64 process_vm_readv
    process_vm_writev ptrace rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_tid_address setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo ugetrlimit uname vfork wait4 waitid waitpid
""".split()

WITH_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount "
        "open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 "
        "unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
AF_ALG, AF_VSOCK = 38, 40  # reach the kernel's crypto and the hypervisor
FAMILIES = 64  # of addresses that are looked at; the kernel has 46
LOW_WORD = 0xFFFF_FFFF
"""What the kernel takes of a register for an int: a filter that compares all of it lets AF_VSOCK | 1 << 32 pass."""
NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, PER_LINUX32, UNAME26, both, "what is it?"

_SECCOMP_RET_ERRNO = 0x0005_0000
_BPF_LD_ABS, _BPF_JGE, _BPF_RET = 0x20, 0x35, 0x06
_X32_BIT = 0x4000_0000
_VERSION = 2


def default_profile(root: Path, capabilities: Iterable[str] = ()) -> str:
    """The path of the compiled filter for a container with those capabilities, compiled if it is not there.

    Raises Unavailable without libseccomp.
    """
    gated = sorted(set(capabilities) & set(WITH_CAPABILITY))
    recipe = repr((_VERSION, os.uname().machine, ALLOWED, WITH_CAPABILITY, PERSONALITIES, gated))
    path = root / "seccomp" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.bpf"
    if not path.exists():
        program = compile_profile(gated)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
            f.write(program)
            f.flush()
            os.fsync(f.fileno())  # it is believed from now on: a power cut must not leave it empty
        os.rename(f.name, path)
    return str(path)


def compile_profile(capabilities: Iterable[str]) -> bytes:
    """An array of struct sock_filter."""
    try:
        import pyseccomp as lib  # not at import time: without libseccomp it raises, and then containers must say why
    except (ImportError, RuntimeError, OSError) as e:
        raise Unavailable(
            f"libseccomp is missing or damaged: {e}",
            hint="apt install libseccomp2, or --security-opt seccomp=unconfined",
        ) from e
    refused = lib.ERRNO(errno.EPERM)
    rules = lib.SyscallFilter(defaction=refused)
    rules.set_attr(lib.Attr.ACT_BADARCH, refused)
    if (second := {"x86_64": lib.Arch.X86, "aarch64": lib.Arch.ARM}.get(os.uname().machine)) is not None:
        rules.add_arch(second)  # 32-bit programs
    rules.set_attr(lib.Attr.CTL_OPTIMIZE, 2)  # a binary tree instead of a chain
    known = _Known(lib)
    granted = [name for capability in capabilities for name in WITH_CAPABILITY[capability].split()]
    for name in dict.fromkeys([*ALLOWED, *granted]):
        if (number := known.number(name)) is not None:
            rules.add_rule(lib.ALLOW, number)
    if "clone" not in granted:
        rules.add_rule(lib.ALLOW, known["clone"], lib.Arg(0, lib.MASKED_EQ, NEW_NAMESPACES, 0))
        # Its flags are behind a pointer, where no filter can look; the C library takes this for an old kernel.
        rules.add_rule(lib.ERRNO(errno.ENOSYS), known["clone3"])
    # Has its family behind a pointer as well; 32-bit programs call socket itself since Linux 4.3.
    rules.add_rule(lib.ERRNO(errno.ENOSYS), known["socketcall"])
    for family in range(FAMILIES):
        if family not in (AF_ALG, AF_VSOCK):
            rules.add_rule(lib.ALLOW, known["socket"], lib.Arg(0, lib.MASKED_EQ, LOW_WORD, family))
    for personality in PERSONALITIES:
        rules.add_rule(lib.ALLOW, known["personality"], lib.Arg(0, lib.MASKED_EQ, LOW_WORD, personality))
    with tempfile.TemporaryFile() as f:
        rules.export_bpf(f)
        f.seek(0)
        return _unknown_is_missing(known.highest) + f.read()


def _unknown_is_missing(highest: int) -> bytes:
    """A beginning for a filter: numbers above `highest`, the same on all architectures, answer ENOSYS."""
    instructions = (
        (_BPF_LD_ABS, 0, 0, 0),  # seccomp_data.nr
        (_BPF_JGE, 0, 2, highest + 1),
        (_BPF_JGE, 1, 0, _X32_BIT),
        (_BPF_RET, 0, 0, _SECCOMP_RET_ERRNO | errno.ENOSYS),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


class _Known:
    """The system calls that the installed libseccomp has names for."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        self.highest = max(number for name in _LATEST if (number := self.number(name)) is not None)

    def number(self, name: str) -> int | None:
        """Pseudo-numbers, negative, are calls of another architecture of the filter; None: nobody knows the name."""
        number: int = self._lib.resolve_syscall(self._lib.Arch.NATIVE, name)
        return None if number == -1 else number

    def __getitem__(self, name: str) -> int:
        number = self.number(name)
        if number is None:
            raise Unavailable(f"this libseccomp does not know {name}", hint="a newer libseccomp2 is needed")
        return number


# by number, oldest first; the first is of Linux 4.18, which every libseccomp that has clone3 knows
_LATEST = """
    rseq clone3 openat2 faccessat2 epoll_pwait2 quotactl_fd memfd_secret process_mrelease futex_waitv
    set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
    lsm_list_modules mseal removexattrat
""".split()
