"""Our nftables table in the kernel: there when a network needs it, holding exactly the elements it was given.

Memory holds what should be there (read back from the kernel at start, so that a restart changes nothing); the fast path
adds or deletes in one transaction on the assumption that the kernel agrees.  When it refuses, somebody has meddled:
`heal` looks and brings the kernel back to what should be.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import anyio

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.linux.nft import Nft, NftError
from hawse.supervisor.network import elements, ruleset
from hawse.supervisor.network.elements import OF_NETWORKS, OF_PORTS, Element, Index

Mode = Literal["owner", "watch"]


class Firewall:
    """`own` None: own the table where the kernel can (other programs cannot change it then); False: never."""

    def __init__(self, table: str, *, own: bool | None = None) -> None:
        self.table = table
        self._own = own
        self._nft = Nft()
        self._owned = False
        self._exists = False
        self._wanted = Index()
        self._healing = anyio.Lock()

    @property
    def mode(self) -> Mode:
        """owner: nobody else can change the table.  watch: they can, and what they broke must be put back."""
        return "owner" if self._owned else "watch"

    async def start(self) -> None:
        """Adopt a table that an earlier daemon left; make none.  Raises Unavailable, KernelError."""
        await self._nft.open()
        if await self._chains() is not None:
            self._wanted = Index(await self.present())
            await self._settle()

    async def rehearse(self) -> bool:
        """Have the kernel take all our rules in a table of another name, and let it go in the same transaction.

        Whether it could be owned (`mode`).  Raises NftError.
        """
        table = f"{self.table}_trial"
        owned = self._own is not False and await self._nft.could_claim(table)
        await self._run(ruleset.install(table) + ruleset.remove(table))
        return owned

    async def close(self) -> None:
        """Let go of it; the table and its elements stay."""
        await self._nft.close()

    async def put(self, new: Sequence[Element]) -> None:
        """Add them in one transaction, in place of whatever published the same ports.  Raises KernelError."""
        new = [e for e in new if e not in self._wanted]
        if not new:
            return
        # Left by a container that is just ending: the store has given its ports to somebody else already.
        replaced = {(e.place, e.key): e for n in new for e in self._wanted.in_the_way(n)}.values()
        for element in replaced:
            self._wanted.discard(element)
        for element in new:
            self._wanted.add(element)
        try:
            if not self._exists:
                await self.heal()
                return
            try:
                await self._run(elements.delete(self.table, replaced) + elements.add(self.table, new))
            except NftError as e:
                if e.errno not in (errno.ENOENT, errno.EEXIST, errno.EPERM):
                    raise
                await self.heal()
        except BaseException:
            for element in new:
                self._wanted.discard(element)
            raise

    async def remove(self, old: Iterable[Element]) -> None:
        """Delete those that still are as given; what is gone, or somebody else's by now, is left alone.

        Raises KernelError; then they are still known, so that the next try deletes them.
        """
        doomed = [e for e in old if e in self._wanted]
        for element in doomed:
            self._wanted.discard(element)
        if not doomed or not self._exists:
            return
        try:
            try:
                await self._run(elements.delete(self.table, doomed))
            except NftError as e:
                # EINVAL: the table is being made by another, or by nobody, at this moment, and has no such set.
                if e.errno not in (errno.ENOENT, errno.EPERM, errno.EINVAL):
                    raise
                await self.heal(doomed)
        except BaseException:
            for element in doomed:
                if not self._wanted.in_the_way(element):  # nobody has put another in its place meanwhile
                    self._wanted.add(element)
            raise

    async def drop_unused(self) -> None:
        """Without a network there is no table either: the ruleset is as it was before us."""
        if self._exists and not any(e.place in OF_NETWORKS for e in self._wanted):
            self._exists = False
            self._wanted.clear()
            try:
                await self._run(ruleset.remove(self.table))
            except NftError as e:
                if e.errno != errno.ENOENT:
                    raise

    async def heal(self, doomed: Collection[Element] = ()) -> list[Element]:
        """Make table, chains and elements what they should be; `doomed` are deleted if there.  What was missing."""
        async with self._healing:
            await self._settle()
            present = Index(await self.present())
            missing = [e for e in self._wanted if e not in present]
            unwanted = {(e.place, e.key): e for e in doomed if e in present}
            unwanted |= {(e.place, e.key): e for new in missing for e in present.in_the_way(new)}
            text = elements.delete(self.table, unwanted.values()) + elements.add(self.table, missing)
            if text:
                await self._run(text)
            return missing

    async def present(self) -> list[Element]:
        """The elements in the kernel; none without a table."""
        try:
            found = []
            for place in (*OF_NETWORKS, *OF_PORTS):
                kind = ruleset.PLACES[place].partition(" ")[0]
                found += elements.parse(await self._nft.listing(f"{kind} inet {self.table} {place}"))
            return found
        except NftError as e:
            if e.errno != errno.ENOENT:
                raise
            return []

    def has(self, element: Element) -> bool:
        """Tell whether it should be there already."""
        return element in self._wanted

    async def is_intact(self) -> bool:
        """Tell whether the table and its chains are as this version makes them."""
        return _complete(await self._chains())

    async def _run(self, text: str) -> None:
        """Not to be cancelled: a transaction that has been handed in is applied, and memory must say so."""
        with anyio.CancelScope(shield=True):
            await self._nft.run(text)

    async def _settle(self) -> None:
        """Table owned if possible, chains of this version; elements as they are."""
        chains = await self._chains()
        if self._own is not False:
            try:
                self._owned = self._own = await self._nft.claim(self.table)
            except KernelError as e:
                if e.errno != errno.EPERM:
                    raise
                raise KernelError("own nftables table", errno.EBUSY, f"{self.table} (another daemon has it)") from e
        if not _complete(chains):
            create = chains is None and not self._owned
            try:
                await self._nft.run(ruleset.install(self.table, old_chains=sorted(chains or ()), create=create))
            except NftError as e:
                if chains is None or e.errno not in (errno.EEXIST, errno.EINVAL):
                    raise
                # Made by a version whose sets had other types: nothing of it can be kept but what memory holds.
                await self._nft.run(ruleset.remove(self.table))
                if self._owned:
                    await self._nft.claim(self.table)
                await self._nft.run(ruleset.install(self.table, create=not self._owned))
        self._exists = True

    async def _chains(self) -> dict[str, int] | None:
        """Chain → number of rules; None without a table."""
        try:
            listing = await self._nft.listing(f"table inet {self.table}", terse=True)
        except NftError as e:
            if e.errno != errno.ENOENT:
                raise
            return None
        found = {item["chain"]["name"]: 0 for item in listing if "chain" in item}
        for item in listing:
            if "rule" in item:
                found[item["rule"]["chain"]] += 1
        return found


def _complete(chains: dict[str, int] | None) -> bool:
    return chains == {ruleset.VERSION: 0, **{name: len(rules) for name, (_, rules) in ruleset.CHAINS.items()}}
