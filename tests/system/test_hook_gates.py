"""Gates that misbehave: each refuses in time with words of its own, leaves nothing, and locks nothing up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

QUIET = ("--network", "none", "busybox")


@pytest.fixture
def gate(lab: Lab) -> Iterator[Callable[..., None]]:
    """Installs a gate: event, text of a script, seconds."""

    def install(event: str, text: str, timeout: float = 60) -> None:
        script = lab.share / "gate"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        (lab.state / "hooks.d/10-gate.toml").write_text(
            f'on = "{event}"\ncommand = "{script}"\ntimeout = {timeout}\nmatch = {{ container = "gated*" }}\n'
        )
        eventually(lambda: event in lab.hawse("hook", "ls").out)

    yield install
    for path in (lab.state / "hooks.d").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")


@pytest.mark.parametrize(
    ("text", "timeout", "words"),
    [
        pytest.param("trap '' TERM; sleep 1000 & sleep 1000", 0.5, "no end in 0.5 s", id="hangs"),
        pytest.param("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 3", 60, "xxxx", id="floods-stderr"),
        pytest.param("head -c 3000000 /dev/zero | tr '\\0' x", 60, "failed", id="floods-stdout"),
        pytest.param("exec 0<&- 1>&- 2>&-; exit 1", 60, "exit code 1", id="closes-everything"),
        pytest.param("kill -SEGV $$", 60, "signal 11", id="dies"),
        pytest.param("""echo '{"env": "no list"}'""", 60, "env", id="wrong-answer"),
        pytest.param("""echo '{"mounts": ["/a:relative"]}'""", 60, "mount", id="bad-answer"),
        pytest.param('rm "$0"; echo gone >&2; exit 1', 60, "gone", id="deletes-itself"),
    ],
)
def test_a_faulty_gate_refuses(lab: Lab, gate: Callable[..., None], text: str, timeout: float, words: str) -> None:
    gate("pre-create", text, timeout)
    refused = lab.hawse("run", "--rm", "--name", "gated", *QUIET, "true", check=False)
    assert refused.code == 125 and words in refused.err
    assert len(refused.err) < 10_000
    assert not lab.hawse("ps", "-aq").out
    eventually(lambda: "sleep 1000" not in lab.run(["ps", "-eo", "args"]).out)
    assert lab.hawse("run", "--rm", "--name", "other", *QUIET, "true").code == 0


@pytest.mark.parametrize("event", ["pre-create", "pre-start", "pre-connect", "pre-stop", "pre-remove"])
def test_a_gate_may_call_hawse_about_everything_else(lab: Lab, gate: Callable[..., None], event: str) -> None:
    """Also to look at its own container, and to go through all the gates of another one."""
    gate(
        event,
        f"hawse ps -a >/dev/null && hawse network ls >/dev/null && hawse run --rm --name inner {' '.join(QUIET)} true",
    )
    lab.hawse("run", "-d", "--name", "gated", "--stop-signal", "KILL", "busybox", "sleep", "1000")
    lab.hawse("stop", "gated")
    lab.hawse("rm", "gated")
    eventually(lambda: "succeeded" in lab.hawse("hook", "runs", "10-gate.toml", "-n", "1").out)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("pre-start", "hawse rm -f gated"),
        ("pre-connect", "hawse stop gated"),
        ("pre-stop", "hawse kill gated"),
        ("pre-remove", "hawse start gated"),
    ],
)
def test_a_gate_that_acts_on_its_own_container_locks_nothing_up(
    lab: Lab, gate: Callable[..., None], event: str, text: str
) -> None:
    """Whatever it is told, its time ends, and the container can be used as before."""
    gate(event, f"{text}; exit 9", 0.5)
    lab.hawse("create", "--name", "gated", "--stop-signal", "KILL", "busybox", "sleep", "1000")
    for verb in ("start", "stop", "rm"):
        lab.hawse(verb, "gated", check=False)
    (lab.state / "hooks.d/10-gate.toml").unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")

    def gone() -> bool:
        """The removal that the gate asked for may still be on its way."""
        lab.hawse("rm", "-f", "gated", check=False)
        return lab.hawse("ps", "-aq", "--filter", "name=gated").out == ""

    eventually(gone)
    lab.hawse("run", "--name", "gated", "busybox", "true")
    lab.hawse("rm", "gated")
