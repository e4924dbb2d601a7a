"""From a hook to a handler of the dispatcher: what is passed, what is recorded, what an end means.

Every run of a durable hook has a row before it starts and its end in the same transaction as `hook.succeeded`; a run that a
crash cut off is marked at the next start and repeated with the next attempt's number.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec

from hawse.supervisor import faults
from hawse.supervisor.core.errors import Forbidden, HawseError, UserError
from hawse.supervisor.core.events import Event, HookSucceeded, Question, cloudevent, for_readers, rfc3339
from hawse.supervisor.core.model import encode_hook
from hawse.supervisor.dispatch.handler import GiveUp, Handler
from hawse.supervisor.hooks import answer, webhook
from hawse.supervisor.hooks.execute import GRACE, Outcome, execute
from hawse.supervisor.hooks.hook import Hook, variables
from hawse.supervisor.hooks.scan import open_program
from hawse.supervisor.parts import Context, Parts
from hawse.supervisor.store.hooks import HookRun
from hawse.supervisor.store.tx import Tx

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERMANENT = 125
SLACK = GRACE + 5.0  # seconds beyond a hook's own timeout until the dispatcher gives it up
GATES_AT_ONCE = 32


class Failed(Exception):
    """A run that is to be repeated."""


class Runner:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._gates = anyio.Semaphore(GATES_AT_ONCE)
        self.outcomes: Counter[tuple[str, str]] = Counter()  # runs by hook and outcome, since the daemon started
        self.nanoseconds: Counter[str] = Counter()  # that they took, by hook
        self._batches: dict[str, webhook.Batches] = {}  # by hook

    def handler(self, hook: Hook) -> Handler:
        if hook.gate:

            async def ask(question: Question, ctx: Context) -> Question | None:
                return await self.ask(hook, question)

            return Handler(
                name=hook.handler,
                types=hook.types,
                mode="gate",
                handle=ask,
                deadline=hook.timeout + SLACK,
                order=f"{Path(hook.name).name} {hook.name}",
            )

        async def deliver(event: Event, ctx: Context) -> None:
            await self.deliver(hook, event)

        return Handler(
            name=hook.handler,
            types=hook.types,
            mode="durable",
            handle=deliver,
            deadline=(2 if hook.batch else 1) * hook.timeout + SLACK,  # of a batch: the request before its own, too
            attempts=hook.attempts,
            concurrency=hook.concurrency,
        )

    async def ask(self, hook: Hook, question: Question) -> Question | None:
        """A gate.  Raises Forbidden with what the hook said."""
        if not hook.match.wants(question):
            return None
        subject = question.subject
        run = await self._parts.store.transact(lambda tx: tx.begin_run(hook.name, 0, question.TYPE, subject))
        faults.point("gate.begun")
        outcome = Outcome()
        try:
            try:
                async with self._gates:
                    outcome = await self.run(hook, question, 1)
                faults.point("gate.answered")
                if not outcome.ok:
                    raise Forbidden(
                        f"{question.TYPE} hook {hook.name} refused: {outcome.output or outcome.describe(hook.timeout)}"
                    )
                return answer.apply(question, outcome.answer)
            except (HawseError, OSError) as e:
                if outcome.ok:
                    outcome = Outcome(code=outcome.code, timed_out=True, output=str(e))
                if hook.ignore:
                    return None
                if isinstance(e, Forbidden):
                    raise
                raise Forbidden(f"{question.TYPE} hook {hook.name} failed: {e}") from e
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(hook, run, outcome, "")

    async def deliver(self, hook: Hook, event: Event) -> None:
        """A durable hook.  Raises Failed to be tried again, GiveUp for good."""
        if not hook.match.wants(event.fact):
            return
        faults.point("hook.due")
        run = await self._parts.store.transact(lambda tx: tx.begin_run(hook.name, event.seq, event.type, event.subject))
        faults.point("hook.begun")
        outcome = Outcome()
        try:
            outcome = await self.run(hook, event, run.attempt)
            faults.point("hook.ended")
        except (UserError, OSError) as e:
            outcome = Outcome(output=str(e))
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(hook, run, outcome, event.id)
        faults.point("hook.recorded")
        if outcome.ok:
            return
        told = f"{outcome.describe(hook.timeout)}{': ' if outcome.output else ''}{outcome.output[-500:]}"
        if outcome.code == PERMANENT and not outcome.timed_out:
            raise GiveUp(told)
        raise Failed(told)

    async def _end(self, hook: Hook, run: HookRun, outcome: Outcome, event: str) -> None:
        cut_off = outcome == Outcome()  # by the daemon's end, or because its file has changed
        how = "succeeded" if outcome.ok else "interrupted" if cut_off else "failed"

        def end(tx: Tx) -> None:
            tx.end_run(run.id, how, outcome.code, outcome.output)
            if outcome.ok and event:
                tx.append(HookSucceeded(handler=hook.handler, event=event, attempt=run.attempt), cause=event)

        self.outcomes[hook.name, how] += 1
        self.nanoseconds[hook.name] += max(0, self._parts.clock() - run.started_at)
        await self._parts.store.transact(end)

    async def run(self, hook: Hook, event: Event | Question, attempt: int, *, test: bool = False) -> Outcome:
        """Once, recording nothing.  Raises UserError or OSError when it cannot even be started."""
        document = msgspec.json.encode(self._document(event), enc_hook=encode_hook)
        if hook.url:
            if not hook.batch:
                return await webhook.post(hook, document, attempt)
            batches = webhook.Batches() if test else self._batches.setdefault(hook.name, webhook.Batches())
            return await batches.post(hook, document, attempt)
        path = Path(hook.command[0]) if hook.command else hook.path
        program = open_program(path)
        type_ = event.type if isinstance(event, Event) else event.TYPE
        try:
            return await execute(
                program,
                [*(hook.command or (str(path),)), type_, event.subject.rpartition("/")[2]],
                self._environment(hook, event, attempt, test),
                document,
                hierarchy=self._parts.cgroups,
                name=f"{self._parts.random.getrandbits(64):016x}",
                timeout=hook.timeout,
                user=hook.user,
                answers=hook.gate,
            )
        finally:
            os.close(program)

    def _environment(self, hook: Hook, event: Event | Question, attempt: int, test: bool) -> dict[str, str]:
        """Nothing of the daemon's own; the directory of its interpreter is where `hawse` may be found."""
        config = self._parts.config
        found = {
            **variables(event.fact if isinstance(event, Event) else event),
            "PATH": f"{PATH}:{Path(sys.executable).parent}",
            "LANG": "C.UTF-8",
            "HOME": "/",
            "HAWSE_EVENT": event.type if isinstance(event, Event) else event.TYPE,
            "HAWSE_SUBJECT": event.subject,
            "HAWSE_SEQ": str(event.seq) if isinstance(event, Event) else "",
            "HAWSE_EVENT_ID": event.id if isinstance(event, Event) else "",
            "HAWSE_ATTEMPT": str(attempt),
            "HAWSE_HOOK": hook.name,
            "HAWSE_HOST": f"unix://{config.socket_path}",
            "HAWSE_AUTOSTART": "0",
        }
        return {**found, "HAWSE_TEST": "1"} if test else found

    def _document(self, event: Event | Question) -> Mapping[str, Any]:
        if isinstance(event, Event):
            return cloudevent(event, platform.node())
        return {
            "specversion": "1.0",
            "id": f"{event.TYPE}-{self._parts.random.getrandbits(64):016x}",
            "source": f"/node/{platform.node()}",
            "type": event.TYPE,
            "subject": event.subject,
            "time": rfc3339(self._parts.clock()),
            "datacontenttype": "application/json",
            "data": msgspec.to_builtins(for_readers(event), enc_hook=encode_hook),
        }
