"""libnftables in-process: nothing is forked, one context, one transaction a call.

The library is not thread-safe and blocks, so everything runs in one thread.  Transactions that arrive while one is being
committed are committed together (the fixed cost, a cache of the tables' heads, is paid once); when such a group fails, each
is tried alone, so that nobody suffers for another's mistake.

`claim` marks a table `owner, persist`: other programs, `nft flush ruleset` included, cannot change it, and it outlives us.
That needs Linux 6.9 and a library that knows the word.  The flag could be set past an older library (the owner is its
socket), but must not be: that one, in the user's `nft --json` too, reads beyond an array when it lists such a table.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hawse.supervisor.core.errors import KernelError, Unavailable
from hawse.supervisor.linux.worker import Worker

LIBRARY = "libnftables.so.1"
OUTPUT_JSON = 1 << 4  # nft_ctx_output_set_flags(3)
OUTPUT_TERSE = 1 << 11
GROUP_LIMIT = 64  # transactions committed together at most, so that the first of them need not wait long
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
        """Create table inet `table` if need be, and own it; False where kernel or library cannot.

        Raises NftError EPERM when another living process owns it.
        """
        return await self._own(f"add table inet {table} {{ flags owner, persist; }}")

    async def could_claim(self, table: str) -> bool:
        """Tell what `claim` would, in a transaction that leaves no such table, also if an owner that died has left one."""
        return await self._own(f"add table inet {table} {{ flags owner, persist; }}\ndelete table inet {table}")

    async def _own(self, text: str) -> bool:
        try:
            await self.run(text)
        except NftError as e:
            if e.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return False
            raise
        return True

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
        context = library.nft_ctx_new(0)
        if not context:
            raise Unavailable("nft_ctx_new failed", hint="is nf_tables in the kernel, and is this root?")
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        self._library, self._context = library, context

    def _close(self) -> None:
        if self._library and self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

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
