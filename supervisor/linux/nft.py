"""libnftables in-process: nothing is forked, one context, one transaction a call.

The library is not thread-safe and blocks, so everything runs in one thread.  Transactions that arrive while one is being
committed are committed together (the fixed cost, a cache of the tables' heads, is paid once); when such a group fails, each
is tried alone, so that nobody suffers for another's mistake.

`claim` marks a table `owner, persist` (Linux 6.9): other programs, `nft flush ruleset` included, cannot change it, and
it outlives us.  The owner is the netlink socket that asked, and libnftables before 1.1 has no words for it; so we ask
through the library's own socket, which stays open as long as the context.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import socket
import struct
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hawse.supervisor.errors import KernelError, Unavailable
from hawse.supervisor.linux.netlink import ACK, CREATE, NLMSG_ERROR, REQUEST, attribute, header, parse, text
from hawse.supervisor.linux.worker import Worker

LIBRARY = "libnftables.so.1"
OUTPUT_JSON = 1 << 4  # nft_ctx_output_set_flags(3)
OUTPUT_TERSE = 1 << 11
GROUP_LIMIT = 64  # transactions committed together at most, so that the first of them need not wait long

NETLINK_NETFILTER = 12
TABLE_OWNER, TABLE_PERSIST = 2, 4
_NEWTABLE, _BATCH_BEGIN, _BATCH_END = 10 << 8, 16, 17
_ERRNOS = {os.strerror(number): number for number in errno.errorcode}


class NftError(KernelError):
    """The kernel or the parser refused a transaction; nothing of it was applied.  `text` is the library's own words."""

    def __init__(self, command: str, text: str) -> None:
        self.text = text.strip()
        first = self.text.splitlines()[0] if self.text else "failed without a word"
        number = next((n for words, n in _ERRNOS.items() if first.endswith(words)), errno.EINVAL)
        super().__init__("nft", number, " ".join(command[:200].split()))
        if number == errno.EINVAL:
            self.message += f": {first}"


@dataclass(slots=True)
class _Transaction:
    text: str
    done: Future[None] = field(default_factory=Future)


class Nft:
    """The way to nftables of the network namespace in which `open` was called."""

    def __init__(self) -> None:
        self._worker = Worker("nft")
        self._queue: deque[_Transaction] = deque()
        self._library: ctypes.CDLL | None = None
        self._context: int | None = None
        self._descriptor = -1  # the library's socket; looked at, never kept open beyond the context

    async def open(self) -> None:
        """Load the library.  Raises Unavailable when it is not installed."""
        await self._worker.run(self._open)

    async def close(self) -> None:
        await self._worker.run(self._close)
        self._worker.close()

    async def run(self, text: str) -> None:
        """Apply `text` as one transaction: all of it or nothing.  Raises NftError."""
        await asyncio.wrap_future(self.submit(text))

    def submit(self, text: str) -> Future[None]:
        """`run` for callers that go on meanwhile."""
        transaction = _Transaction(text)
        self._queue.append(transaction)
        self._worker.submit(self._drain)
        return transaction.done

    async def listing(self, what: str, *, terse: bool = False) -> list[dict[str, Any]]:
        """The objects that `list <what>` prints; terse leaves elements out.  Raises NftError (errno ENOENT: no such)."""
        return await self._worker.run(self._list, what, terse)

    async def claim(self, table: str) -> bool:
        """Create table inet `table` if need be, and own it; False where the kernel cannot.

        Raises KernelError EPERM when another living process owns it.
        """
        return await self._worker.run(self._claim, table)

    # In the worker's thread from here on.

    def _open(self) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as e:
            raise Unavailable(f"{LIBRARY} is not installed", hint="apt install libnftables1") from e
        for name, result, *arguments in (
            ("nft_ctx_new", ctypes.c_void_p, ctypes.c_uint32),
            ("nft_ctx_free", None, ctypes.c_void_p),
            ("nft_ctx_buffer_output", ctypes.c_int, ctypes.c_void_p),
            ("nft_ctx_buffer_error", ctypes.c_int, ctypes.c_void_p),
            ("nft_ctx_get_output_buffer", ctypes.c_char_p, ctypes.c_void_p),
            ("nft_ctx_get_error_buffer", ctypes.c_char_p, ctypes.c_void_p),
            ("nft_ctx_output_set_flags", None, ctypes.c_void_p, ctypes.c_uint),
            ("nft_run_cmd_from_buffer", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        before = _netfilter_sockets()
        context = library.nft_ctx_new(0)
        if not context:
            raise Unavailable("nft_ctx_new failed", hint="is nf_tables in the kernel, and is this root?")
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        self._library, self._context = library, context
        if len(opened := _netfilter_sockets() - before) == 1:
            self._descriptor = opened.pop()

    def _close(self) -> None:
        if self._library and self._context:
            self._library.nft_ctx_free(self._context)
            self._context, self._descriptor = None, -1

    def _execute(self, text: str, flags: int = 0) -> bytes:
        if not self._library or not self._context:
            raise Unavailable("nftables is not open")
        self._library.nft_ctx_output_set_flags(self._context, flags)
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        # Both buffers are emptied by reading them; one that is left over would show up in the next answer.
        output = self._library.nft_ctx_get_output_buffer(self._context) or b""
        complaint = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NftError(text, complaint.decode(errors="replace"))
        return bytes(output)

    def _drain(self) -> None:
        group: list[_Transaction] = []
        while self._queue and len(group) < GROUP_LIMIT:
            transaction = self._queue.popleft()
            if transaction.done.set_running_or_notify_cancel():
                group.append(transaction)
        if len(group) > 1:
            try:
                self._execute("\n".join(t.text for t in group))
            except NftError:
                pass
            else:
                for transaction in group:
                    transaction.done.set_result(None)
                return
        for transaction in group:
            try:
                self._execute(transaction.text)
            except Exception as e:
                transaction.done.set_exception(e)
            else:
                transaction.done.set_result(None)

    def _list(self, what: str, terse: bool) -> list[dict[str, Any]]:
        output = self._execute(f"list {what}", OUTPUT_JSON | (OUTPUT_TERSE if terse else 0))
        return [dict(item) for item in json.loads(output)["nftables"]] if output.strip() else []

    def _claim(self, table: str) -> bool:
        if self._descriptor < 0:
            return False
        with socket.socket(fileno=os.dup(self._descriptor)) as channel:
            number = _new_table(channel, table, TABLE_OWNER | TABLE_PERSIST)
        if number in (errno.EOPNOTSUPP, errno.EINVAL):
            return False
        if number:
            raise KernelError("nft claim table inet", number, table)
        return True


def _new_table(channel: socket.socket, table: str, flags: int) -> int:
    """The errno of the kernel's answer (0 = done).  libnftables ignores answers to sequence numbers not its own."""
    attributes = text(1, table) + attribute(2, struct.pack("!I", flags))
    head = struct.pack("=BBH", 1, 0, 0)  # nfgenmsg: NFPROTO_INET, version, resource id
    batch = struct.pack("=BBH", 0, 0, socket.htons(10))  # resource id NFNL_SUBSYS_NFTABLES
    channel.sendto(
        header(_BATCH_BEGIN, REQUEST, 1, batch)
        + header(_NEWTABLE, REQUEST | ACK | CREATE, 2, head + attributes)
        + header(_BATCH_END, REQUEST, 3, batch),
        (0, 0),
    )
    while True:
        # The kernel has answered before sendto returns; the socket is non-blocking, as the library made it.
        for kind, _, sequence, payload in parse(channel.recv(65536)):
            if kind == NLMSG_ERROR and sequence in (1, 2):  # of the batch or of the table
                return -int(struct.unpack_from("=i", payload)[0])


def _netfilter_sockets() -> set[int]:
    """Our descriptors that are NETLINK_NETFILTER sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as s:
                if s.family == socket.AF_NETLINK and s.proto == NETLINK_NETFILTER:
                    found.add(int(name))
        except OSError:  # closed meanwhile
            continue
    return found
