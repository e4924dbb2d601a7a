"""The first process of a container, from clone3 to exec: builds the root, becomes the user, waits at the gate.

Runs in a copy of the shim's memory.  After `become_root` the host's files are out of reach, so nothing may be imported
late.  Talks to the shim over `channel` (one SEQPACKET socket, close-on-exec):

    init → shim   netlink + fd            the container's network namespace exists
    shim → init   mapped                  ids are mapped
    shim → init   mounts (count) + fds    the plan's sources, in several messages if they are many
    init → shim   ready + stdio fds       everything done but exec
    shim → init   go
    init → shim   executing               the end of the socket after this is exec's success
    init → shim   failed                  at any time instead
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import NoReturn

from hawse.supervisor.linux import apparmor, mounts, syscalls
from hawse.supervisor.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY, Filesystem
from hawse.supervisor.linux.userns import become_root
from hawse.supervisor.shim import protocol, reaper, stdio
from hawse.supervisor.shim.joining import join
from hawse.supervisor.shim.offspring import expect, keep_only, tell_failure, tie_to_parent
from hawse.supervisor.shim.operations import Root
from hawse.supervisor.shim.plan import Plan
from hawse.supervisor.shim.program import Failure, Program, confine
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.specs import ShimSpec
from hawse.supervisor.shim.stdio import Stdio

NETLINK_ROUTE = 0
DESCRIPTORS_REFUSED = (errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP)
"""What overlay says to FSCONFIG_SET_FD with our descriptors, which are O_PATH, in 6.5 to 6.14 (they are taken since 6.15,
commit 0ff053b98a0f); to any descriptor in some of these; and before 6.5, when overlay was not configured this way."""


def main(spec: ShimSpec, plan: Plan, seccomp: bytes, channel: Socket) -> NoReturn:
    """The whole life of init.  Never returns, never raises."""
    try:
        keep_only(channel.fileno())
        Init(spec, plan, seccomp, channel).run()
    except Failure as e:
        tell_failure(channel, e)
    except OSError as e:
        tell_failure(channel, Failure("mounts", e.strerror or str(e), e.errno or 0))
    except BaseException as e:
        tell_failure(channel, Failure("mounts", f"{type(e).__name__}: {e}"))
    os._exit(1)


class Init:
    def __init__(self, spec: ShimSpec, plan: Plan, seccomp: bytes, channel: Socket) -> None:
        self.spec, self.plan, self.seccomp, self.channel = spec, plan, seccomp, channel
        self._label: list[int] = []  # for a reaper, which executes nothing: how it comes under the profile all the same

    def run(self) -> None:
        spec, channel = self.spec, self.channel
        os.umask(0o022)
        syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-init")
        syscalls.new_session_keyring()  # whoever possesses a keyring reads it, whatever namespaces he is in
        if spec.net == "new":
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE) as netlink:
                protocol.send(channel, {"ev": "netlink"}, (netlink.fileno(),))
        mounts.make_private()
        begun = time.monotonic_ns()
        join(spec.cgroup_v1)
        stages = {"cgroup": (time.monotonic_ns() - begun) // 1000}
        places = self._open_places()
        syscalls.set_hostname(spec.hostname)
        if spec.domainname:
            syscalls.set_domainname(spec.domainname)
        expect(channel, "mapped")
        if spec.uid_base is not None:
            become_root()
        tie_to_parent(channel)
        sources = self._receive_sources()
        begun = time.monotonic_ns()
        root = Root(self._mount_overlay(sources[: self.plan.layers], *places), sources)
        for operation in self.plan.operations:
            try:
                operation.execute(root)
            except OSError as e:
                raise Failure("mounts", f"{operation.describe()}: {e.strerror}", e.errno or 0) from None
        streams = stdio.make(spec.process, root.fd)
        if streams.tty:
            root.attach(mounts.open_tree("", streams.inside[0]), "/dev/console")
        confine(spec.process.apparmor)
        if spec.init and spec.process.apparmor:
            self._label.append(apparmor.open_current())
        self._enter_root(root, streams)
        program = Program.prepare(spec.process, self.seccomp, make_cwd=True)
        if spec.rootfs.read_only:
            mounts.set_attributes(root.fd, MOUNT_ATTR_RDONLY, target="/")
        stages["mounts"] = (time.monotonic_ns() - begun) // 1000
        # Not in clone3: its root would have been the shim's cgroup.
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        self._go(program, streams, stages)

    def _go(self, program: Program, streams: Stdio, stages: dict[str, int]) -> None:
        program.restrict(streams)
        program.seal()
        protocol.send(self.channel, {"ev": "ready", **stages}, streams.outside)
        for fd in streams.outside:
            os.close(fd)
        streams.install()
        expect(self.channel, "go")
        protocol.send(self.channel, {"ev": "executing"})
        if self.spec.init:
            reaper.split(self.channel, self._label, self.spec.process.apparmor)
        program.execute()

    def _open_places(self) -> tuple[int, int, int]:
        """Upper, work and target are below directories that only the host's root may enter, which init still is."""
        rootfs, flags = self.spec.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        return os.open(rootfs.upper, flags), os.open(rootfs.work, flags), os.open(rootfs.target, flags)

    def _receive_sources(self) -> list[int]:
        sources: list[int] = []
        while len(sources) < len(self.plan.sources):
            message, fds = protocol.receive(self.channel)
            if message["op"] != "mounts":
                raise Failure("mounts", f"unexpected {message['op']}")
            sources += fds
        return sources

    def _mount_overlay(self, layers: list[int], upper: int, work: int, target: int) -> int:
        """A descriptor of the overlay's root, attached at the target."""
        for layer in layers:
            # Kernels before 6.15 take only layers that are attached somewhere in the mount namespace: here they are, and
            # the overlay, which has its own copies of them, covers them.
            mounts.attach(layer, target, "layer")
        root = self._overlay_by_descriptor(layers, upper, work, target)
        return self._overlay_by_path(layers, upper, work, target) if root is None else root

    def _overlay_by_descriptor(self, layers: list[int], upper: int, work: int, target: int) -> int | None:
        """None where the kernel does not take the descriptors, which it says at once."""
        with Filesystem("overlay") as fs:
            fs.set("source", "overlay")
            try:
                for layer in layers:
                    fs.set_fd("lowerdir+", layer)
                fs.set_fd("upperdir", upper)
                fs.set_fd("workdir", work)
            except OSError as e:
                if e.errno not in DESCRIPTORS_REFUSED:
                    raise
                return None
            if self.spec.uid_base is not None:
                fs.set("userxattr")
            root = fs.mount(MOUNT_ATTR_NODEV)
        mounts.attach(root, target, "overlay")
        return root

    def _overlay_by_path(self, layers: list[int], upper: int, work: int, target: int) -> int:
        def path(fd: int) -> str:
            return f"/proc/self/fd/{fd}"

        # mount(2) gives no descriptor, and the way to the target is closed to mapped root: a place of our own, then.
        with Filesystem("tmpfs") as fs:
            shelf = fs.mount(MOUNT_ATTR_NODEV)
        mounts.attach(shelf, target, "shelf")
        os.mkdir("root", dir_fd=shelf)
        options = f"lowerdir={':'.join(map(path, layers))},upperdir={path(upper)},workdir={path(work)}"
        if self.spec.uid_base is not None:
            options += ",userxattr"
        mounts.mount_overlay_by_path(f"{path(shelf)}/root", options)
        return os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shelf)

    def _enter_root(self, root: Root, streams: Stdio) -> None:
        """Leave the host: from here on nothing of it can be reached: not by path, and not through a descriptor either.

        The next thing is to look up paths of the image, and /proc/self/fd/N/../.. of a layer is the host (CVE-2024-21626).
        """
        os.fchdir(root.fd)
        syscalls.pivot_root(b".", b".")
        # The old root lies on top of the new one now.
        mounts.unmount_detached(b".")
        os.chdir("/")
        keep_only(self.channel.fileno(), root.fd, *self._label, *streams.inside, *streams.outside)
