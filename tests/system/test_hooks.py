"""Hooks: what a program in hooks.d is told, what its end means, and that no hook can hurt anybody but itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


@pytest.fixture
def hooks(lab: Lab) -> Iterator[Hooks]:
    """The lab's hooks directory, empty before and after."""
    yield (kept := Hooks(lab))
    for path in (*kept.base.iterdir(), *kept.vendor.glob("*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    eventually(lambda: kept.listed() == {})


class Hooks:
    def __init__(self, lab: Lab) -> None:
        self.lab, self.base, self.vendor = lab, lab.state / "hooks.d", lab.state / "vendor-hooks.d"

    def put(self, name: str, text: str, mode: int = 0o755, *, ready: bool = True) -> None:
        """A file that appears at once and complete; with `ready` it is waited for."""
        path = self.base / name
        path.parent.mkdir(exist_ok=True)
        fresh = path.parent / f".{path.name}"
        fresh.write_text(text if name.endswith(".toml") else f"#!/bin/sh\n{text}\n")
        fresh.chmod(mode)
        fresh.rename(path)
        if ready:
            eventually(lambda: self.listed().get(name, {}).get("State") == "ready")

    def listed(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.lab.hawse("hook", "ls", "--format", "json", check=False).out)
        return {hook["Name"]: hook for hook in found if hook["Name"] != "run--on"}

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Oldest first; those that have ended."""
        found = json.loads(self.lab.hawse("hook", "runs", name, "--format", "json").out)
        return [run for run in reversed(found) if run["outcome"]]


def test_a_durable_hook_is_told_everything(lab: Lab, hooks: Hooks) -> None:
    out = lab.share / "told"
    hooks.put("on-container.exited.d/10-tell", f'env > {out}.env; echo "$@" > {out}.argv; cat > {out}.json; echo said')
    lab.hawse(
        "run",
        "--name",
        "web",
        "-l",
        "app.name=x y",
        "--network",
        "bridge",
        "busybox",
        "sh",
        "-c",
        "exit 3",
        check=False,
    )
    container = lab.inspect("web")["Id"]
    (run,) = eventually(lambda: hooks.runs("on-container.exited.d/10-tell"))
    assert (run["outcome"], run["code"], run["output"], run["attempt"]) == ("succeeded", 0, "said", 1)
    assert Path(f"{out}.argv").read_text().split() == ["container.exited", container]
    env = dict(line.split("=", 1) for line in Path(f"{out}.env").read_text().splitlines())
    assert env["HAWSE_EVENT"] == "container.exited" and env["HAWSE_NAME"] == "web" and env["HAWSE_EXIT_CODE"] == "3"
    assert env["HAWSE_LABEL_APP_NAME"] == "x y" and env["HAWSE_IP"] and env["HAWSE_ATTEMPT"] == "1"
    assert not {"HAWSE_ROOT", "HAWSE_CONFIG", "TERM"} & env.keys(), "the daemon's own environment leaks"
    event = json.loads(Path(f"{out}.json").read_text())
    assert event["type"] == "container.exited" and event["data"]["exit"]["code"] == 3
    lab.hawse("rm", "web")


def test_a_gate_refuses_with_its_words_and_may_add(lab: Lab, hooks: Hooks) -> None:
    hooks.put("pre-create.d/10-add", """echo '{"env": ["ADDED=yes"], "labels": {"by": "hook"}}'""")
    hooks.put("pre-create.d/20-no", 'case "$HAWSE_NAME" in bad*) echo "we do not want $HAWSE_NAME" >&2; exit 1;; esac')
    assert (
        lab.hawse("run", "--rm", "--name", "good", "--network", "none", "busybox", "sh", "-c", "echo $ADDED").out
        == "yes\n"
    )
    refused = lab.hawse("run", "--rm", "--name", "bad", "--network", "none", "busybox", "true", check=False)
    assert refused.code == 125 and "we do not want bad" in refused.err
    assert "bad" not in lab.hawse("ps", "-a").out


@pytest.mark.parametrize(
    ("event", "verb"), [("pre-start", "start"), ("pre-connect", "start"), ("pre-stop", "stop"), ("pre-remove", "rm")]
)
def test_every_transition_has_its_gate(lab: Lab, hooks: Hooks, event: str, verb: str) -> None:
    lab.hawse("create", "--name", "cc", "--stop-signal", "KILL", "busybox", "sleep", "1000")
    if verb == "stop":
        lab.hawse("start", "cc")
    hooks.put(f"{event}.d/10-no", f"echo not {verb} >&2; exit 7")
    refused = lab.hawse(verb, "cc", check=False)
    assert refused.code == 1 and f"not {verb}" in refused.err
    (hooks.base / f"{event}.d/10-no").unlink()
    eventually(lambda: not hooks.listed())
    lab.hawse(verb, "cc")
    if verb != "rm":
        lab.hawse("rm", "-f", "cc")


def test_a_bad_file_is_told_and_hurts_nobody(lab: Lab, hooks: Hooks) -> None:
    hooks.put("on-container.started.d/10-open", "true", 0o777, ready=False)
    hooks.put("on-container.started.d/20-strange", "true", ready=False)
    os.chown(hooks.base / "on-container.started.d/20-strange", 65534, 65534)
    hooks.put("on-container.started.d/30-plain", "true", 0o644, ready=False)
    hooks.put("broken.toml", "on = [", ready=False)
    hooks.put("unknown.toml", 'on = "container.exploded"\ncommand = "/bin/true"', ready=False)
    hooks.put("on-container.started.d/40-good", "true")
    bad = {name: hook["Problem"] for name, hook in hooks.listed().items() if hook["State"] == "bad"}
    assert "writable by others" in bad["on-container.started.d/10-open"]
    assert "not owned by root" in bad["on-container.started.d/20-strange"]
    assert "not executable" in bad["on-container.started.d/30-plain"]
    assert "TOML" in bad["broken.toml"] and "no event" in bad["unknown.toml"]
    lab.hawse("run", "--rm", "--network", "none", "busybox", "true")
    eventually(lambda: hooks.runs("on-container.started.d/40-good"))


def test_a_vendors_hook_is_masked_by_name(lab: Lab, hooks: Hooks) -> None:
    vendor = hooks.vendor / "on-container.started.d"
    vendor.mkdir(parents=True)
    (vendor / "10-a").write_text("#!/bin/sh\necho vendor\n")
    (vendor / "10-a").chmod(0o755)
    eventually(lambda: "on-container.started.d/10-a" in hooks.listed())
    (hooks.base / "on-container.started.d").mkdir()
    (hooks.base / "on-container.started.d/10-a").symlink_to("/dev/null")
    eventually(lambda: not hooks.listed())
    lab.run(["rm", "-r", str(hooks.vendor)])


FAULTS = {
    "hangs": ("trap '' TERM; sleep 1000", "no end in 0.5 s", 1),
    "forks": ("(trap '' TERM HUP; sleep 1000) & sleep 1000 & exit 75", "exit code 75", 2),
    "closes-stdin": ("exec 0<&-; exit 9", "exit code 9", 2),
    "floods": ("head -c 3000000 /dev/zero | tr '\\0' x; exit 75", "exit code 75", 2),
    "dies": ("kill -SEGV $$", "ended by signal 11", 2),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faulty_hook_is_retried_and_leaves_nothing(lab: Lab, hooks: Hooks, kind: str) -> None:
    text, error, attempts = FAULTS[kind]
    script = lab.share / kind
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    limits = f"retries = {attempts - 1}\ntimeout = {0.5 if kind == 'hangs' else 60}\n"
    hooks.put("f.toml", f'on = "container.started"\ncommand = "{script}"\n{limits}')
    lab.hawse("run", "--rm", "--network", "none", "busybox", "true")
    dead = eventually(lambda: hooks.listed()["f.toml"]["Dead"])
    runs = hooks.runs("f.toml")[-attempts:]
    assert [run["attempt"] for run in runs] == list(range(1, attempts + 1))
    assert len(runs[-1]["output"]) <= 4096
    assert error in lab.daemon.log
    eventually(lambda: "sleep 1000" not in lab.run(["ps", "-eo", "args"]).out)
    script.write_text("#!/bin/sh\necho better\n")
    assert lab.hawse("hook", "retry", "f.toml", str(dead[-1])).out == "1 retried\n"
    eventually(lambda: hooks.runs("f.toml")[-1]["output"] == "better")
    eventually(lambda: hooks.listed()["f.toml"]["Dead"] == dead[:-1])


def test_a_hook_that_deletes_itself_runs_to_its_end(lab: Lab, hooks: Hooks) -> None:
    name = "on-container.started.d/10-once"
    hooks.put(name, f'rm "{hooks.base / name}"; echo done')
    lab.hawse("run", "--rm", "--network", "none", "busybox", "true")
    eventually(lambda: [run["output"] for run in hooks.runs(name)] == ["done"])
    eventually(lambda: name not in hooks.listed())


def test_125_is_permanent(lab: Lab, hooks: Hooks) -> None:
    hooks.put("on-container.started.d/10-never", "exit 125")
    lab.hawse("run", "--rm", "--network", "none", "busybox", "true")
    eventually(lambda: hooks.listed()["on-container.started.d/10-never"]["Dead"])
    assert len(hooks.runs("on-container.started.d/10-never")) == 1


def test_a_hook_may_call_hawse_back_and_remove_its_container(lab: Lab, hooks: Hooks) -> None:
    hooks.put("on-container.exited.d/10-rm", 'hawse rm "$HAWSE_NAME"')
    hooks.put("pre-stop.d/10-self", 'exec hawse stop "$HAWSE_NAME"')
    hooks.put("pre-remove.d/10-self", 'hawse rm "$HAWSE_NAME" 2>&1 | grep -q "already in progress"')
    (hooks.base / "pre-stop.d/10-self").unlink()
    hooks.put(
        "stop.toml",
        'on = "pre-stop"\ncommand = ["/bin/sh", "-c", "hawse stop $HAWSE_NAME"]\ntimeout = 0.5\nmode = "ignore"',
    )
    lab.hawse("run", "-d", "--name", "cc", "--network", "none", "--stop-signal", "KILL", "busybox", "sleep", "1000")
    lab.hawse("stop", "cc")
    eventually(lambda: not lab.hawse("ps", "-aq").out)


def test_the_daemon_killed_during_a_hook_repeats_it(lab: Lab, hooks: Hooks) -> None:
    mark = lab.share / "mark"
    hooks.put(
        "on-container.started.d/10-kill",
        f"echo $HAWSE_ATTEMPT >> {mark}; [ $HAWSE_ATTEMPT = 1 ] && kill -9 $PPID; true",
    )
    lab.hawse("run", "-d", "--name", "cc", "--network", "none", "busybox", "sleep", "1000", check=False)
    eventually(lambda: mark.exists() and mark.read_text())
    lab.daemon.wait_dead()
    lab.daemon.start()
    eventually(
        lambda: [run["outcome"] for run in hooks.runs("on-container.started.d/10-kill")] == ["interrupted", "succeeded"]
    )
    assert mark.read_text() == "1\n2\n"
    lab.hawse("rm", "-f", "cc")


def test_disable_enable_test_and_replay(lab: Lab, hooks: Hooks) -> None:
    name = "on-container.started.d/10-a"
    hooks.put(name, "echo test=$HAWSE_TEST $HAWSE_NAME")
    lab.hawse("hook", "disable", name)
    lab.hawse("run", "--rm", "--name", "one", "--network", "none", "busybox", "true")
    assert hooks.listed()[name]["State"] == "disabled" and not hooks.runs(name)
    lab.hawse("hook", "enable", name)
    assert "test=1 one" in lab.hawse("hook", "test", "container.started").out
    assert not hooks.runs(name), "a test is no run"
    lab.hawse("hook", "replay", name)
    eventually(lambda: "test= one" in [run["output"] for run in hooks.runs(name)])
    before = len(hooks.runs(name))
    lab.hawse("hook", "replay", name, "--since", "1h")
    eventually(lambda: "test= one" in [run["output"] for run in hooks.runs(name)[before:]])
    assert lab.hawse("hook", "replay", name, "--since", "1h", "--after", "x", check=False).code == 125
    _, metrics = lab.daemon.request("GET", "/hawse/v1/metrics")
    assert f'hawse_hook_runs_total{{hook="{name}",outcome="succeeded"}}' in metrics.decode()
    assert lab.hawse("hook", "test", "container.exploded", check=False).code == 1


def test_run_on(lab: Lab, hooks: Hooks) -> None:
    out = lab.share / "on"
    lab.hawse(
        "run",
        "--rm",
        "--name",
        "cc",
        "--network",
        "none",
        "--on",
        f"container.exited=echo $HAWSE_NAME $1 > {out}",
        "busybox",
        "true",
    )
    assert eventually(lambda: out.exists() and out.read_text()) == "cc container.exited\n"
    assert lab.hawse("run", "--on", "nonsense=x", "busybox", "true", check=False).code == 125
    assert (
        "refused"
        in lab.hawse("run", "--rm", "--network", "none", "--on", "pre-start=exit 1", "busybox", "true", check=False).err
    )
