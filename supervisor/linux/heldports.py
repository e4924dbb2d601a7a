"""Published ports, each held by a socket that is bound and does not listen: what docker's proxy is for besides copying.

Packets never come to these sockets, the translation is before them (network/ruleset.py).  They are there so that whoever
else wants the port, docker or a program of the host, is told that it is in use instead of getting no connections.  A
packet that comes all the same, because the rules are gone, is refused by TCP and dropped by UDP.

Binding is also the test whether a port is free.  Ports are held and released inside the transactions that reserve and
release them (store/), so that no start meets a socket of a container that has ended.
"""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import AbstractContextManager, nullcontext
from ipaddress import IPv4Address

from hawse.supervisor.core.errors import Unavailable, UserError
from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.linux import sockfilter
from hawse.supervisor.linux.listeners import who_has
from hawse.supervisor.linux.sharedport import NAMES_PORT, SharedPort

IP_FREEBIND = 15  # ip(7); the socket module does not name it
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_SHARE = (3, 4)
"""Of the descriptors that this process may have.  The others are for clients, shims and the name server."""


class HeldPorts:
    """`names`: our own sockets on port 53, beside which a container may have it."""

    def __init__(self, names: SharedPort) -> None:
        self._names = names
        self._held: dict[str, dict[str, socket.socket | None]] = {}  # container → place → None: nothing to hold it with
        self._count = 0
        self._taken: dict[str, dict[str, str]] = {}  # container → place that it had → who else has it now

    def hold(self, container_id: str, binding: PortBinding, *, again: bool = False) -> str:
        """Have it; "" or who else has it: "process nginx (pid 12)".

        `again` for one that the container has had: its address need not be one of this host at the moment.
        Raises UserError when it has to be, Unavailable when as many ports are held as may be.
        """
        held = self._held.setdefault(container_id, {})
        if binding.place in held:
            return ""
        self._check_room()
        try:
            held[binding.place] = self._bound(binding, again)
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                who = who_has(binding) or "another process"
                if again:
                    self._taken.setdefault(container_id, {})[binding.place] = who
                return who
            if e.errno == errno.EADDRNOTAVAIL:
                raise UserError(
                    f"failed to bind host port {binding.host_ip}:{binding.host_port}/{binding.proto}: "
                    "cannot assign requested address",
                    hint=f"{binding.host_ip} is not an address of this host",
                ) from e
            raise
        self._count += 1
        self._taken.get(container_id, {}).pop(binding.place, None)
        return ""

    def release(self, container_id: str) -> None:
        """All that it has; nothing is success."""
        self._taken.pop(container_id, None)
        for sock in self._held.pop(container_id, {}).values():
            self._count -= 1
            if sock is not None:
                sock.close()

    @property
    def held(self) -> dict[str, frozenset[str]]:
        """Container → the places that it has: "0.0.0.0:8080/tcp"."""
        return {container_id: frozenset(held) for container_id, held in list(self._held.items())}

    @property
    def taken(self) -> dict[str, str]:
        """The places that containers had before this daemon began, and who else has them now."""
        return {place: who for taken in list(self._taken.values()) for place, who in list(taken.items())}

    def _check_room(self) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = limit * _SHARE[0] // _SHARE[1]
        if self._count >= most:
            raise Unavailable(
                f"{most} ports are published, more cannot be held: each takes one of the {limit} descriptors of the daemon",
                hint="raise LimitNOFILE= in the unit of hawse, or publish fewer",
            )

    def _bound(self, binding: PortBinding, again: bool) -> socket.socket | None:
        every = binding.host_ip is None or binding.host_ip.is_unspecified
        address = str(binding.host_ip or IPv4Address(0))
        try:
            sock = socket.socket(
                socket.AF_INET, _KINDS[binding.proto], socket.IPPROTO_SCTP if binding.proto == "sctp" else 0
            )
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise
            return None  # this kernel has no SCTP sockets, so nobody can take one
        try:
            if again:
                sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            if binding.proto == "udp":
                sockfilter.drop(sock, (), but=())
            else:  # connections that are just ending do not count as a listener
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if binding.host_port == NAMES_PORT and every and binding.proto != "sctp":
                bound: AbstractContextManager[None] = self._names.bound(sock, address, binding.host_port)
            else:
                sock.bind((address, binding.host_port))
                bound = nullcontext()
            with bound:
                if binding.proto == "tcp":
                    _seal(sock)
        except BaseException:
            sock.close()
            raise
        return sock


def _seal(sock: socket.socket) -> None:
    """Seal the port: who binds the port from now on is refused, SO_REUSEADDR or not.

    Of a port that was bound with SO_REUSEADDR only, the kernel remembers that others with it are welcome until somebody
    listens (inet_csk_get_port).  After the shutdown nobody does, and the socket is still bound.
    """
    sock.listen(0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    sock.shutdown(socket.SHUT_RD)
