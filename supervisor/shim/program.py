"""From root in a container's namespaces to the user's program: who, where, with what, and exec.

Shared by init and exec.  The order matters and is kept here alone: `Program.prepare` finds everything out while still
privileged, `restrict` gives the privileges up, `seal` shuts out others, `execute` does not return.  Stdlib only.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from dataclasses import dataclass
from typing import NoReturn

from hawse.supervisor.linux import apparmor, capabilities, credentials, rooted
from hawse.supervisor.linux.credentials import Identity
from hawse.supervisor.linux.syscalls import (
    AT_FDCWD,
    CLOSE_RANGE_CLOEXEC,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    RESOLVE_NO_MAGICLINKS,
    close_range,
    install_seccomp,
    openat2,
    prctl,
)
from hawse.supervisor.shim.specs import DEFAULT_PATH, ProcessSpec
from hawse.supervisor.shim.stdio import Stdio

NOT_FOUND, NOT_EXECUTABLE, ENGINE_FAILED = 127, 126, 125
FIRST_REALTIME, LAST_SIGNAL = 32, 64


class Failure(Exception):
    """A start that cannot go on: the stage, the text for the user (docker's where it has one), docker's exit code."""

    def __init__(self, stage: str, message: str, number: int = 0, exit_code: int = ENGINE_FAILED) -> None:
        super().__init__(message)
        self.stage, self.message, self.number, self.exit_code = stage, message, number, exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything resolved, nothing given up yet."""

    spec: ProcessSpec
    path: str
    env: dict[str, str]
    identity: Identity
    seccomp: bytes

    @classmethod
    def prepare(cls, spec: ProcessSpec, seccomp: bytes, *, make_cwd: bool) -> Program:
        """Resolve user, working directory (entered here) and program, in the root that is the caller's.  Raises Failure."""
        try:
            passwd, group = credentials.read_database("/etc/passwd"), credentials.read_database("/etc/group")
            identity = credentials.resolve(spec.user, spec.groups, passwd, group)
        except (credentials.UnknownUser, OSError) as e:
            raise Failure("exec", getattr(e, "strerror", None) or str(e), getattr(e, "errno", 0) or 0) from None
        env = dict(item.partition("=")[::2] for item in spec.env if not item.startswith("="))
        env.setdefault("HOME", identity.home)
        _enter(spec.cwd or "/", make=make_cwd)
        return cls(
            spec=spec,
            path=find(spec.argv[0] if spec.argv else "", env.get("PATH", DEFAULT_PATH)),
            env=env,
            identity=identity,
            seccomp=seccomp,
        )

    def restrict(self, streams: Stdio) -> None:
        """Give up everything but what the program may have, which includes its streams.  Raises Failure."""
        who, allowed = self.identity, capabilities.mask(self.spec.caps)
        step = ""
        try:
            if self.spec.no_new_privileges:
                prctl(PR_SET_NO_NEW_PRIVS, 1)
            elif self.seccomp:
                # Without no_new_privs it takes CAP_SYS_ADMIN, which is about to go.
                step = "install the seccomp filter"
                install_seccomp(self.seccomp)
            step = f"change to uid {who.uid}"
            streams.own(who.uid)
            step = "drop capabilities"
            capabilities.limit_bounding(allowed)
            step = f"set groups {','.join(map(str, who.groups))}"
            os.setgroups(who.groups)
            step = f"change to gid {who.gid}"
            os.setresgid(who.gid, who.gid, who.gid)
            step = f"change to uid {who.uid}"
            os.setresuid(who.uid, who.uid, who.uid)
            step = "drop capabilities"
            capabilities.limit(allowed)
        except OSError as e:
            text = f"{step}: {os.strerror(e.errno or 0)}"
            if e.errno == errno.EINVAL and step.startswith(("set groups", "change to")):
                text += " (is it outside of the container's id range? see --userns host)"
            raise Failure("exec", text, e.errno or 0) from None

    def seal(self) -> None:
        """After `restrict`, in the process that will execute.  Raises Failure."""
        # Only now: every change of credentials clears the first and may set the second, and a fork clears the first.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_DUMPABLE, 0)
        if self.seccomp and self.spec.no_new_privileges:
            try:
                install_seccomp(self.seccomp)
            except OSError as e:
                raise Failure(
                    "exec", f"install the seccomp filter: {os.strerror(e.errno or 0)}", e.errno or 0
                ) from None

    def execute(self) -> NoReturn:
        """Raises Failure."""
        reset_signals()
        close_range(3, flags=CLOSE_RANGE_CLOEXEC)
        try:
            os.execve(self.path, self.spec.argv, self.env)
        except OSError as e:
            raise _exec_failure(self.spec.argv[0], e.errno or 0) from None


def confine(profile: str) -> None:
    """The program will run under this AppArmor profile, "" for none.

    For init or an exec that has the host's /proc still in reach.  Raises Failure with docker's words.
    """
    if not profile:
        return
    try:
        apparmor.confine_exec(profile)
    except OSError as e:
        number = e.errno or 0
        text = f"unable to apply apparmor profile: apparmor failed to apply profile: write {e.filename}: "
        text += os.strerror(number).lower()
        if number == errno.ENOENT:
            text += f' (no profile "{profile}" is loaded; aa-status lists them, apparmor_parser -r -W FILE loads one)'
        raise Failure("exec", text, number) from None


def read_filter(path: str) -> bytes:
    """A compiled seccomp filter, b"" for none.  The path is the host's."""
    if not path:
        return b""
    with open(path, "rb") as f:
        return f.read()


def find(name: str, path: str) -> str:
    """The file that a shell would run for `name`.  Raises Failure with docker's words and exit code."""
    if not name:
        raise Failure("exec", "no command specified")
    if "/" in name:
        try:
            status = _status(name)
        except OSError as e:
            # Docker's CLI makes its exit code out of these words.
            number = e.errno or 0
            code = NOT_FOUND if number in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
            text = f'exec: "{name}": stat {name}: {os.strerror(number).lower()}: unknown'
            raise Failure("exec", text, number, code) from None
        if (number := _obstacle(status)) != 0:
            raise _exec_failure(name, number)
        return name
    found = errno.ENOENT
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            number = _obstacle(_status(candidate))
        except OSError:
            continue
        if number == 0:
            return candidate
        found = found if number == errno.EISDIR else number
    if found == errno.ENOENT:
        text = f'exec: "{name}": executable file not found in $PATH: unknown'
        raise Failure("exec", text, errno.ENOENT, NOT_FOUND)
    raise _exec_failure(name, found)


def reset_signals() -> None:
    """Python ignores some signals, and ignoring is what exec would pass on."""
    for number in range(1, LAST_SIGNAL + 1):
        if signal.SIGSYS < number < FIRST_REALTIME + 2 or number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _status(path: str) -> os.stat_result:
    """Return the status of what `path` leads to.  Magic links are refused, as in `_enter`.  Raises OSError."""
    fd = openat2(AT_FDCWD, path, os.O_PATH, RESOLVE_NO_MAGICLINKS)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _obstacle(status: os.stat_result) -> int:
    """Return why such a file cannot be executed by anybody, 0 if it can."""
    if stat.S_ISDIR(status.st_mode):
        return errno.EISDIR
    return 0 if status.st_mode & 0o111 else errno.EACCES


def _exec_failure(name: str, number: int) -> Failure:
    code = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE
    return Failure("exec", f'exec: "{name}": {os.strerror(number).lower()}: unknown', number, code)


def _enter(cwd: str, *, make: bool) -> None:
    """Change to `cwd`, which is made if it is missing.

    Magic links are refused: /proc/self/fd/N as the working directory was a way out of the container (CVE-2024-21626).
    """
    try:
        try:
            fd = openat2(AT_FDCWD, cwd, os.O_PATH | os.O_DIRECTORY, RESOLVE_NO_MAGICLINKS)
        except FileNotFoundError:
            if not make:
                raise
            root = os.open("/", os.O_PATH | os.O_CLOEXEC)
            fd = rooted.ensure(root, cwd, directory=True)
            os.close(root)
        os.fchdir(fd)
        os.close(fd)
        if not os.getcwd().startswith("/"):  # getcwd(3): or it fails, when the directory is not below the root
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    except OSError as e:
        number = e.errno or 0
        code = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE
        text = f'chdir to cwd ("{cwd}") failed: {os.strerror(number).lower()}: unknown'
        raise Failure("exec", text, number, code) from None
