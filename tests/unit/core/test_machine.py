"""The container's state machine against its own table, and against what users rely on."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import Bug, IllegalTransition
from hawse.supervisor.core.machine import STORY_LENGTH, TRANSITIONS, Step, step
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Exit,
    ProcessIdentity,
    State,
    Verb,
    Wish,
)

NOW = 1_700_000_000_000_000_000
PROCESS = ProcessIdentity(pid=42, start_time=7, boot_id="b")
SHIM = ProcessIdentity(pid=41, start_time=6, boot_id="b")
STIMULI = {
    type(stimulus): stimulus
    for stimulus in (
        machine.StartRequested(),
        machine.Started(process=PROCESS, shim=SHIM, endpoints=(), stages={"total": 9000}),
        machine.StartFailed(stage="mounts", error="no such file", exit_code=127),
        machine.Exited(exit=Exit(code=3, finished_at=NOW + 5), endpoints=()),
        machine.OutOfMemory(kills=1, endpoints=()),
        machine.StopRequested(),
        machine.ShuttingDown(),
        machine.Paused(),
        machine.Resumed(),
        machine.RestartScheduled(delay_ns=100),
        machine.RestartCancelled(),
        machine.RemoveRequested(),
        machine.Quarantined(reason="stuck"),
        machine.Removed(),
    )
}


def container(state: State = State.CREATED, **changes: object) -> Container:
    given = {"id": ContainerId("a" * 64), "name": "c", "config": ContainerConfig(), "state": state, "created_at": 1}
    return Container(**{**given, **changes})  # type: ignore[arg-type]


def test_the_samples_here_are_all_the_stimuli():
    assert set(STIMULI) == set(get_args(machine.Stimulus))


@pytest.mark.parametrize("stimulus", STIMULI.values(), ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("state", State)
def test_every_pair_is_in_the_table_or_impossible(state, stimulus):
    before = container(state, story=("created",))
    target = TRANSITIONS.get((state, type(stimulus)))
    if target is None:
        with pytest.raises(IllegalTransition) as caught:
            step(before, stimulus, NOW)
        assert caught.value.state == state
        assert caught.value.stimulus == type(stimulus).__name__
        assert "created" in str(caught.value)
        assert isinstance(caught.value, Bug)
    else:
        after = step(before, stimulus, NOW)
        assert after.container.state is target  # a container that never ran: see the failed start below
        assert after.container.story == ("created", f"{type(stimulus).__name__}→{target}")
        for fact in after.facts:
            assert fact.container.id == before.id  # type: ignore[union-attr]


def test_every_state_can_be_left_and_reached():
    left = {state for (state, _), target in TRANSITIONS.items() if target is not state}
    reached = {target for (state, _), target in TRANSITIONS.items() if target is not state}
    # REMOVING is left by deleting the row, CREATED is entered by writing it
    assert left == set(State)
    assert reached == set(State)


def test_facts_carry_the_container_as_it_is_just_after():
    started = step(container(State.STARTING), STIMULI[machine.Started], NOW)
    (fact,) = started.facts
    assert isinstance(fact, events.ContainerStarted)
    assert fact.container == started.container
    assert (fact.container.started_at, fact.container.process, fact.container.shim) == (NOW, PROCESS, SHIM)
    assert fact.container.stages == {"total": 9000}


def test_an_exit_is_a_death_certificate():
    before = container(State.RUNNING, process=PROCESS, shim=SHIM, started_at=NOW - 1000)
    stimulus = machine.Exited(
        exit=Exit(code=137, signal=9, oom=True, finished_at=NOW),
        oom_kills=1,
        endpoints=(),
        peak_memory=5,
        cpu_ns=6,
        last_lines=("x",),
    )
    after = step(before, stimulus, NOW + 10)
    oom, died = after.facts
    assert isinstance(oom, events.ContainerOom)
    assert isinstance(died, events.ContainerExited)
    assert (died.ran_ns, died.peak_memory, died.cpu_ns, died.last_lines) == (1000, 5, 6, ("x",))
    assert died.exit.code == 137
    assert after.container.process is None and after.container.shim is None


def test_an_exit_of_unknown_time_is_now():
    after = step(container(State.RUNNING, started_at=NOW - 7), machine.Exited(exit=Exit(code=None), endpoints=()), NOW)
    assert after.container.finished_at == NOW
    assert after.container.exit == Exit(code=None)


def test_a_failed_start_keeps_why():
    after = step(container(State.STARTING), STIMULI[machine.StartFailed], NOW)
    (fact,) = after.facts
    assert isinstance(fact, events.ContainerStartFailed)
    assert (fact.stage, fact.error) == ("mounts", "no such file")
    assert after.container.error == "no such file"
    assert after.container.exit is not None and after.container.exit.code == 127
    assert after.container.process is None


@pytest.mark.parametrize(("started_at", "state"), [(0, State.CREATED), (NOW - 5, State.EXITED)])
def test_after_a_failed_start_it_is_what_it_was_before(started_at, state):
    after = step(container(State.STARTING, started_at=started_at), STIMULI[machine.StartFailed], NOW)
    assert after.container.state is state


def test_a_start_by_a_user_forgets_the_count_of_restarts_and_a_restart_adds_to_it():
    again = step(container(State.RESTARTING, restart_count=2), machine.StartRequested(), NOW)
    assert again.container.restart_count == 3
    by_user = step(container(State.EXITED, restart_count=3, wish=Wish(verb=Verb.STOP)), machine.StartRequested(), NOW)
    assert by_user.container.restart_count == 0
    assert not by_user.container.is_stopped_by_user


class Life(RuleBasedStateMachine):
    """Any stimulus at any time: legal ones keep the contract on the order of events, others change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.be_born()

    @precondition(lambda self: self.told[-1] != events.ContainerRemoved.TYPE)
    @rule(stimulus=st.sampled_from(list(STIMULI.values())), passed=st.integers(0, 10**9))
    def happen(self, stimulus: machine.Stimulus, passed: int) -> None:
        self.now += passed
        before = self.container
        try:
            after: Step = step(before, stimulus, self.now)
        except IllegalTransition:
            assert (before.state, type(stimulus)) not in TRANSITIONS
            return
        self.container = after.container
        self.told += [fact.TYPE for fact in after.facts]

    @precondition(lambda self: self.told[-1] != events.ContainerRemoved.TYPE)
    @rule(data=st.data())
    def happen_legally(self, data: st.DataObject) -> None:
        """The same, but always a step forward: else most of a run would be refusals."""
        possible = [s for kind, s in STIMULI.items() if (self.container.state, kind) in TRANSITIONS]
        self.happen(data.draw(st.sampled_from(possible)), 1)

    @precondition(lambda self: self.told[-1] == events.ContainerRemoved.TYPE)
    @rule()
    def be_born(self) -> None:
        self.container = container(story=("created",))
        self.told = [events.ContainerCreated.TYPE]

    @invariant()
    def events_are_in_order(self) -> None:
        """created < started < exited < removed, and nothing starts twice or ends unstarted."""
        running = False
        for position, told in enumerate(self.told):
            assert (told == events.ContainerCreated.TYPE) == (position == 0)
            if told == events.ContainerStarted.TYPE:
                assert not running
                running = True
            elif told == events.ContainerExited.TYPE:
                assert running
                running = False
            elif told == events.ContainerRemoved.TYPE:
                assert not running
                assert position == len(self.told) - 1
            elif told in (events.ContainerPaused.TYPE, events.ContainerResumed.TYPE, events.ContainerOom.TYPE):
                assert running

    @invariant()
    def record_is_consistent(self) -> None:
        state = self.container.state
        assert (self.container.process is not None) == (state in (State.RUNNING, State.PAUSED))
        assert (self.container.shim is not None) == (self.container.process is not None)
        if state in (State.RUNNING, State.PAUSED):
            assert self.container.started_at and not self.container.finished_at and self.container.exit is None
        if state in (State.EXITED, State.RESTARTING):
            assert self.container.exit is not None and self.container.finished_at

    @invariant()
    def story_is_bounded(self) -> None:
        assert 1 <= len(self.container.story) <= STORY_LENGTH


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("signal", [0, 15])
def test_a_restart_of_what_waits_is_unfinished_until_it_has_started(signal: int) -> None:
    waiting = container(State.RESTARTING, started_at=1, restart_count=3)
    ended = step(waiting, machine.RestartCancelled(signal=signal), NOW).container
    assert (ended.state, ended.is_stopped_by_user, ended.is_unfinished) == (State.EXITED, True, signal != 0)
    starting = step(ended, machine.StartRequested(), NOW).container
    assert (starting.is_unfinished, starting.restart_count) == (signal != 0, 0)
    started = step(starting, STIMULI[machine.Started], NOW)
    assert not started.container.is_unfinished
    (fact,) = started.facts
    assert isinstance(fact, events.ContainerStarted) and fact.restarted is (signal != 0)


def test_what_a_user_asked_for_outranks_the_engines_end() -> None:
    """So a restart that a shutdown interrupts is finished by the next daemon."""
    asked = step(container(State.RUNNING, started_at=1), machine.StopRequested(verb=Verb.RESTART, signal=15), NOW)
    assert step(asked.container, machine.ShuttingDown(), NOW).container.wish == asked.container.wish
    alone = step(container(State.RUNNING, started_at=1), machine.ShuttingDown(), NOW).container
    assert alone.wish == Wish(verb=Verb.SHUTDOWN) and not alone.is_stopped_by_user and not alone.is_unfinished


@pytest.mark.parametrize(
    ("verb", "lasts"), [(Verb.STOP, False), (Verb.KILL, False), (Verb.REMOVE, False), (Verb.RESTART, True)]
)
def test_a_wish_is_unfinished_until_it_has_ended_or_after_a_restart_runs_again(verb: Verb, lasts: bool) -> None:
    wish = machine.StopRequested(verb=verb, signal=15, grace=3)
    asked = step(container(State.RUNNING, started_at=1), wish, NOW).container
    assert asked.is_unfinished and asked.wish == Wish(verb=verb, signal=15, grace=3)
    ended = step(asked, machine.Exited(exit=Exit(code=0), endpoints=()), NOW).container
    assert ended.is_unfinished is lasts
    starting = step(ended, machine.StartRequested(), NOW).container
    assert starting.is_unfinished is lasts
    for last in (STIMULI[machine.Started], STIMULI[machine.StartFailed]):
        over = step(starting, last, NOW).container
        assert not over.is_unfinished
        assert over.wish is None


def test_a_removal_is_the_wish_from_the_kill_to_the_end() -> None:
    asked = step(container(State.RUNNING, started_at=1), machine.StopRequested(verb=Verb.REMOVE, signal=9), NOW)
    ended = step(asked.container, machine.Exited(exit=Exit(code=137), endpoints=()), NOW).container
    removing = step(ended, machine.RemoveRequested(volumes=True), NOW).container
    assert removing.wish == Wish(verb=Verb.REMOVE, signal=9, volumes=True) and not removing.is_unfinished
    stopped = container(State.EXITED, wish=Wish(verb=Verb.STOP, signal=15))
    assert step(stopped, machine.RemoveRequested(), NOW).container.wish == Wish(verb=Verb.REMOVE)
