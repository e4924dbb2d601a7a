"""The hooks of this host: kept in step with their directories and with the dispatcher, and the verbs of `hawse hook`.

A file that turns bad keeps its cursor and is reported; one that is gone, or switched off, is forgotten with its cursor and
what it left undone, because it would hold back the pruning of the journal.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import anyio
import structlog

from hawse.supervisor.core.errors import Conflict, HawseError, NotFound, UserError
from hawse.supervisor.core.eventnames import event_types
from hawse.supervisor.core.events import Event, Question
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.hooks import execute, onflag
from hawse.supervisor.hooks.execute import Outcome
from hawse.supervisor.hooks.hook import Hook
from hawse.supervisor.hooks.runner import Runner
from hawse.supervisor.hooks.scan import Scan, scan
from hawse.supervisor.journal.tally import Sample
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.inotify import DirectoryWatch
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.hooks import HookRun
from hawse.supervisor.store.tx import Tx

SETTLE = 0.1  # seconds in which several changes of a directory count as one
RETRY = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of `hawse hook ls`."""

    name: str
    kind: str = ""
    events: tuple[str, ...] = ()
    mode: str = ""
    state: str = "ready"  # ready, disabled, bad
    problem: str = ""
    lag: int = 0
    dead: tuple[int, ...] = ()  # seqs of dead letters
    last: HookRun | None = None


class Hooks:
    def __init__(self, parts: Parts, dispatcher: Dispatcher) -> None:
        self._parts = parts
        self._dispatcher = dispatcher
        self._runner = Runner(parts)
        self._scan = Scan()
        self._registered: dict[str, Hook] = {}
        self._disabled: set[str] = set()
        self._flagged = False
        self._loading = anyio.Lock()

    async def begin(self) -> None:
        """Before anything is served: what the last daemon's runs left is killed and marked, the hooks are read."""
        execute.sweep(self._parts.cgroups)
        if interrupted := await self._parts.store.transact(lambda tx: tx.interrupt_runs()):
            log.info("hook_runs_interrupted", runs=interrupted)
        try:
            self._parts.config.hooks_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as e:
            log.info("hooks_dir_not_made", path=str(self._parts.config.hooks_dir), reason=e.strerror)
        await self.load()
        containers = await self._parts.store.read(lambda tx: tx.containers())
        if any(container.config.hooks for container in containers):
            await self.flagged()
        for name in await self._dispatcher.orphans():
            if name.startswith("hook:") and name.removeprefix("hook:") not in self._scan.problems:
                await self._dispatcher.remove(name)

    async def run(self) -> None:
        """Follow the directories, for ever."""
        while True:
            try:
                with ExitStack() as stack:
                    watches = [
                        stack.enter_context(DirectoryWatch(path, attributes=True)) for path in self._scan.directories
                    ]
                    await self.load()
                    await _any(watches)
                    await anyio.sleep(SETTLE)
                await self.load()
            except (OSError, HawseError) as e:
                log.warning("hooks_not_watched", reason=str(e))
                await anyio.sleep(RETRY)

    async def load(self) -> None:
        """Read the directories and bring the dispatcher in step."""
        async with self._loading:
            found = await threads.run_sync(scan, self._parts.config.hooks_dir, self._parts.config.vendor_hooks_dir)
            for name, problem in found.problems.items():
                if self._scan.problems.get(name) != problem:
                    log.warning("hook_refused", hook=name, problem=problem)
            self._scan = found
            self._disabled = await self._parts.store.read(lambda tx: tx.disabled_hooks())
            wanted = {hook.name: hook for hook in found.hooks if hook.name not in self._disabled}
            for name, hook in tuple(self._registered.items()):
                if wanted.get(name) != hook:
                    stays = name in wanted or name in found.problems
                    await self._dispatcher.remove(hook.handler, forget=not stays)
                    del self._registered[name]
            for name, hook in wanted.items():
                if name not in self._registered:
                    await self._dispatcher.add(self._runner.handler(hook))
                    self._registered[name] = hook

    async def flagged(self) -> None:
        """A container with hooks of its own (`run --on`) exists or is about to: the handlers for them are needed."""
        if not self._flagged:
            self._flagged = True
            for handler in onflag.handlers(self._runner):
                await self._dispatcher.add(handler)

    # ---- hawse hook ------------------------------------------------------------------------------------------------

    async def listed(self) -> list[Listed]:
        await self.load()
        lag = self._dispatcher.lag()

        def facts(tx: Tx) -> tuple[dict[str, list[int]], dict[str, HookRun]]:
            dead: dict[str, list[int]] = {}
            for delivery in tx.deliveries(dead=True):
                dead.setdefault(delivery.handler, []).append(delivery.seq)
            last = {hook.name: run for hook in self._scan.hooks for run in tx.hook_runs(hook.name, limit=1)}
            return dead, last

        dead, last = await self._parts.store.read(facts)
        lines = [
            Listed(
                name=hook.name,
                kind=hook.kind,
                events=hook.types,
                mode=("gate, ignored" if hook.ignore else "gate") if hook.gate else "durable",
                state="disabled" if hook.name in self._disabled else "ready",
                lag=lag.get(hook.handler, 0),
                dead=tuple(dead.get(hook.handler, ())),
                last=last.get(hook.name),
            )
            for hook in self._scan.hooks
        ]
        lines += [Listed(name=name, state="bad", problem=why) for name, why in self._scan.problems.items()]
        if self._flagged:
            name = onflag.NAME
            lines.append(
                Listed(
                    name=name,
                    kind="run --on",
                    mode="durable",
                    lag=lag.get(f"hook:{name}", 0),
                    dead=tuple(dead.get(f"hook:{name}", ())),
                )
            )
        return lines

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """For metrics, since the daemon started: runs by hook and outcome, and how long they took by hook."""
        outcomes, took = self._runner.outcomes, self._runner.nanoseconds
        counts = Counter[str]()
        for (name, _), count in outcomes.items():
            counts[name] += count
        runs: list[Sample] = [
            ("", {"hook": name, "outcome": outcome}, count) for (name, outcome), count in sorted(outcomes.items())
        ]
        seconds: list[Sample] = []
        for name, total in sorted(took.items()):
            seconds += [("_sum", {"hook": name}, total / 1e9), ("_count", {"hook": name}, counts[name])]
        return runs, seconds

    async def runs(self, name: str = "", limit: int = 100) -> list[HookRun]:
        """Newest first.  Raises NotFound for a name that is and was no hook."""
        found = await self._parts.store.read(lambda tx: tx.hook_runs(name or None, limit=limit))
        if name and not found:
            await self._check(name)
        return found

    async def _check(self, name: str) -> None:
        """Raises NotFound unless it is one, usable or not."""
        await self.load()
        if name not in {hook.name for hook in self._scan.hooks} | self._scan.problems.keys() | {onflag.NAME}:
            raise NotFound(f"no such hook: {name}", hint="see `hawse hook ls`")

    async def switch(self, name: str, *, on: bool) -> None:
        """Off: it is not run, and not told later of what happened meanwhile.  Raises NotFound."""
        await self.load()
        if on and name in self._disabled and name in self._scan.problems:
            raise Conflict(f"hook {name} cannot be used: {self._scan.problems[name]}")
        if name not in {hook.name for hook in self._scan.hooks} | self._disabled:
            raise NotFound(f"no such hook: {name}", hint="see `hawse hook ls`")
        await self._parts.store.transact(lambda tx: tx.switch_hook(name, on=on))
        await self.load()

    async def retry(self, name: str, seq: int | None = None) -> int:
        """Deliver dead letters once more: one, or all; how many.  Raises NotFound."""
        await self._check(name)
        handler = f"hook:{name}"
        if seq is None:
            dead = await self._parts.store.read(lambda tx: tx.deliveries(handler, dead=True))
            for delivery in dead:
                await self._dispatcher.retry(handler, delivery.seq)
            return len(dead)
        await self._dispatcher.retry(handler, seq)
        return 1

    async def replay(self, name: str, cursor: str) -> None:
        """Begin again after a cursor ("" the oldest that is kept); what it left undone is forgotten.  Raises as add does."""
        async with self._loading:
            hook = self._registered.get(name)
            if hook is None or hook.gate:
                raise NotFound(f"no durable hook {name} is in use", hint="see `hawse hook ls`")
            position = cursor or self._parts.store.journal.oldest_cursor
            self._parts.store.journal.parse(position)
            await self._dispatcher.remove(hook.handler)
            await self._dispatcher.add(self._runner.handler(hook), position)

    async def test(self, event: str, ref: str = "", only: str = "") -> list[tuple[str, Outcome]]:
        """Run the hooks of an event now, for the last such event (of that container), and record nothing."""
        await self.load()
        (type_,), gate = event_types(event)
        sample: Event | Question
        if gate:
            if not ref:
                raise UserError(f"{event} needs a container to ask about", hint="--container NAME")
            container = await self._parts.store.read(lambda tx: tx.find(ref))
            kind = next(question for question in Question.__args__ if event == question.TYPE)
            sample = kind(container=container)
        else:
            sample = await self._last(type_, ref)
        chosen = [h for h in self._scan.hooks if h.gate == gate and self._runner.handler(h).wants(type_)]
        chosen = [h for h in chosen if h.name == only] if only else chosen
        if not chosen:
            raise NotFound(
                f"no usable hook{f' named {only}' if only else ''} wants {event}", hint="see `hawse hook ls`"
            )
        ended = []
        for hook in chosen:
            if not hook.match.wants(sample.fact if isinstance(sample, Event) else sample):
                ended.append((hook.name, Outcome(code=0, output="(its match does not want this event)")))
                continue
            try:
                ended.append((hook.name, await self._runner.run(hook, sample, 1, test=True)))
            except (HawseError, OSError) as e:
                ended.append((hook.name, Outcome(output=str(e))))
        return ended

    async def _last(self, type_: str, ref: str) -> Event:
        def last(tx: Tx) -> Event | None:
            subject = f"container/{tx.find(ref).id}" if ref else ""
            return next(iter(tx.last_events(subject, type_, limit=1)), None)

        event = await self._parts.store.read(last)
        if event is None:
            raise NotFound(f"the journal has no {type_} event{f' of {ref}' if ref else ''} to test with")
        return event


async def _any(watches: list[DirectoryWatch]) -> None:
    """Wait until one of the directories has changed."""
    if not watches:
        await anyio.sleep_forever()
    async with anyio.create_task_group() as group:

        async def one(watch: DirectoryWatch) -> None:
            await watch.wait()
            group.cancel_scope.cancel()

        for watch in watches:
            group.start_soon(one, watch)
