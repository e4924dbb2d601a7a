"""How the shim brings init into the world: namespaces, id maps, the mounts that init cannot make, cgroups, limits.

Runs in the shim, as the host's root, as a straight line of steps that shim.py takes one by one.  Stdlib only.
"""

from __future__ import annotations

import os
import resource
import socket
import stat

from hawse.supervisor.linux import syscalls, userns
from hawse.supervisor.runtime import init, protocol
from hawse.supervisor.runtime.plan import Plan, SysfsSource
from hawse.supervisor.runtime.program import Failure
from hawse.supervisor.runtime.protocol import ProcessSpec, ShimSpec


class Birth:
    """Init until it runs the user's program.  `channel` is the shim's end of their socket."""

    def __init__(self, spec: ShimSpec, plan: Plan) -> None:
        self.spec, self.plan = spec, plan
        self.pid = 0
        self.pidfd = -1
        self.netlink: socket.socket | None = None
        self._sysfs: dict[int, int] = {}
        self._mounts = -1
        self.channel, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def clone(self) -> None:
        spec = self.spec
        seccomp = read_program(spec.process.seccomp)
        own_directories(spec)
        flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        flags |= syscalls.CLONE_NEWNET if spec.net == "new" else 0
        flags |= syscalls.CLONE_NEWUSER if spec.uid_base is not None else 0
        cgroup = os.open(spec.cgroup_v2, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if spec.cgroup_v2 else -1
        home = self._join_network()
        self.pid, self.pidfd = syscalls.clone3(flags, cgroup)
        if self.pid == 0:
            init.main(spec, self.plan, seccomp, self._theirs)
        if home >= 0:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
            os.close(home)
        if cgroup >= 0:
            os.close(cgroup)
        self._theirs.close()

    def map_ids(self) -> None:
        if self.spec.uid_base is not None:
            userns.write_maps(self.pid, self.spec.uid_base, self.spec.uid_count)
        protocol.send(self.channel, {"op": "mapped"})

    def receive_netlink(self) -> None:
        """Until the container's network namespace can be configured."""
        if self.spec.net == "new":
            _, fds = self.expect("netlink")
            self.netlink = socket.socket(fileno=fds[0])

    def pass_mounts(self) -> None:
        mapped = userns.open_userns(self.pid) if self.spec.uid_base is not None else -1
        batch: list[int] = []
        try:
            for number, source in enumerate(self.plan.sources):
                early = self._sysfs.pop(number, -1)
                batch.append(early if early >= 0 else _open(source, mapped))
                if len(batch) == protocol.MAX_FDS or number + 1 == len(self.plan.sources):
                    protocol.send(self.channel, {"op": "mounts"}, tuple(batch))
                    while batch:
                        os.close(batch.pop())
        finally:
            for fd in (*batch, *self._sysfs.values(), mapped):
                if fd >= 0:
                    os.close(fd)
            self._sysfs.clear()

    def hold_mounts(self) -> None:
        """Keep the mount namespace for as long as the shim lives, so that init does not take it along.

        A dying process first waits until the mounts that only it had are gone (RCU, some 2 ms), and only then can anybody
        hear of its death.
        """
        try:
            self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # dead already, and its mounts with it

    def open_gate(self) -> None:
        set_limits(self.pid, self.spec.process)
        protocol.send(self.channel, {"op": "go"})

    def expect(self, event: str) -> tuple[dict[str, object], list[int]]:
        """Init's next message.  Raises Failure when it is another one, or the end."""
        message, fds = self.receive()
        if message.get("ev") != event:
            raise failed(message)
        return message, fds

    def receive(self) -> tuple[dict[str, object], list[int]]:
        """Init's next message; {} at the end."""
        return receive(self.channel)

    def _join_network(self) -> int:
        """Enter the network namespace to be shared, and make what only its own members can; the way back as a descriptor."""
        kind, _, pid = self.spec.net.partition(":")
        home = -1
        if kind == "pid":
            home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                target = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Failure("network", "cannot join network of a non running container") from None
            syscalls.setns(target, syscalls.CLONE_NEWNET)
            os.close(target)
        for number, source in enumerate(self.plan.sources):
            if isinstance(source, SysfsSource):
                self._sysfs[number] = source.open(-1)
        return home


def receive(channel: socket.socket) -> tuple[dict[str, object], list[int]]:
    """The next message from the other side of `channel`; {} at the end."""
    while True:
        try:
            return protocol.receive(channel)
        except ConnectionResetError:
            # It died with something of ours unread, which is told once; its own last words come after.
            continue
        except EOFError:
            return {}, []


def failed(message: dict[str, object]) -> Failure:
    """What init or an exec said when it gave up; {} = it died without a word."""
    if message.get("ev") != "failed":
        return Failure("namespaces", "the container's first process died before it could run the program")
    return Failure(
        str(message["stage"]), str(message["message"]), int(str(message["errno"])), int(str(message["exit_code"]))
    )


def read_program(path: str) -> bytes:
    """A compiled seccomp filter, b"" for none."""
    if not path:
        return b""
    with open(path, "rb") as f:
        return f.read()


def own_directories(spec: ShimSpec) -> None:
    """Upper and work exist and belong to the container's root; a new upper looks like the layer below it."""
    rootfs = spec.rootfs
    for path in (rootfs.upper, rootfs.work, rootfs.target):
        try:
            os.mkdir(path, 0o755 if path == rootfs.upper else 0o700)
        except FileExistsError:
            pass
        else:
            if path == rootfs.upper:
                os.chmod(path, stat.S_IMODE(os.stat(rootfs.lower[0]).st_mode))
        if spec.uid_base is not None and path != rootfs.target and os.stat(path).st_uid == 0:
            os.chown(path, spec.uid_base, spec.uid_base)


def set_limits(pid: int, spec: ProcessSpec) -> None:
    """Resource limits and the OOM score, which only the host's root may raise."""
    for name, (soft, hard) in spec.rlimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise Failure("exec", f"invalid ulimit type: {name}")
        try:
            resource.prlimit(pid, number, (soft, hard))
        except (OSError, ValueError) as e:
            reason = (
                "not permitted, the limit of the supervisor itself is lower" if isinstance(e, PermissionError) else e
            )
            raise Failure("exec", f"ulimit {name}={soft}:{hard}: {reason}", getattr(e, "errno", 0) or 0) from None
    if spec.oom_score_adj:
        try:
            with open(f"/proc/{pid}/oom_score_adj", "w") as f:
                f.write(str(spec.oom_score_adj))
        except OSError as e:
            raise Failure(
                "exec", f"oom_score_adj {spec.oom_score_adj}: {os.strerror(e.errno or 0)}", e.errno or 0
            ) from None


def _open(source: object, userns: int) -> int:
    try:
        fd: int = source.open(userns)  # type: ignore[attr-defined]
        return fd
    except OSError as e:
        path = getattr(source, "path", "")
        text = e.strerror or str(e)
        if e.filename:
            text = f"{path}: {text}"
        raise Failure("mounts", text, e.errno or 0) from None
