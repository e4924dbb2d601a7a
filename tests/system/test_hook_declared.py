"""Hooks declared in TOML: for whom they run, as whom, how many at a time, and what their names may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

QUIET = ("--network", "none", "busybox")


@pytest.fixture
def hooks(lab: Lab) -> Iterator[Path]:
    yield lab.state / "hooks.d"
    for path in (lab.state / "hooks.d").iterdir():
        path.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")


def declare(lab: Lab, name: str, command: str, *lines: str, on: str = "container.started") -> None:
    text = (f'on = "{on}"', f"command = {json.dumps(['/bin/sh', '-c', command])}", *lines)
    (lab.state / f"hooks.d/{name}.toml").write_text("\n".join(text) + "\n")
    eventually(lambda: f"{name}.toml" in lab.hawse("hook", "ls").out)


def runs(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Oldest first."""
    found = json.loads(lab.hawse("hook", "runs", f"{name}.toml", "--format", "json").out)
    return list(reversed(found))


def test_it_runs_for_whom_it_matches(lab: Lab, hooks: Path) -> None:
    told = 'echo "$HAWSE_NAME"'
    declare(lab, "by-label", told, 'match = { label = ["tier=web", "any"] }')
    declare(lab, "by-name", told, 'match = { container = "web-*" }')
    declare(lab, "by-network", told, 'match = { network = "brid*" }')
    declare(lab, "by-all", told, 'match = { label = ["any"], network = "bridge", container = "*-2" }')
    declare(lab, "everything", told)
    lab.hawse("run", "--rm", "--name", "web-1", "-l", "tier=web", "-l", "any", *QUIET, "true")
    lab.hawse("run", "--rm", "--name", "web-2", "-l", "tier=db", "-l", "any=x", "busybox", "true")
    lab.hawse("run", "--rm", "--name", "other", "-l", "tier=web", "busybox", "true")
    wanted = {
        "by-label": ["web-1"],
        "by-name": ["web-1", "web-2"],
        "by-network": ["other", "web-2"],
        "by-all": ["web-2"],
        "everything": ["other", "web-1", "web-2"],
    }
    for name, containers in wanted.items():
        eventually(lambda: sorted(run["output"] for run in runs(lab, name)) == containers)  # noqa: B023


def test_it_runs_as_the_user(lab: Lab, hooks: Path) -> None:
    declare(lab, "as", "id -un; id -G | wc -w; touch /nobody 2>/dev/null || echo not root", 'user = "nobody"')
    declare(lab, "unknown", "true", 'user = "nobody-of-that-name"', "retries = 0")
    lab.hawse("run", "--rm", *QUIET, "true")
    eventually(lambda: [run["output"] for run in runs(lab, "as")] == ["nobody\n1\nnot root"])
    eventually(lambda: "no user" in runs(lab, "unknown")[0]["output"])


def test_containers_do_not_wait_for_each_other_beyond_the_concurrency(lab: Lab, hooks: Path) -> None:
    """Of one container in order; of others at once, so many as are allowed; another hook goes on by itself."""
    gate = lab.share / "open"
    declare(lab, "slow", f"until [ -e {gate} ]; do sleep 0.01; done", "concurrency = 2", on="container.*")
    declare(lab, "quick", "true")
    for name in ("c1", "c2", "c3"):
        lab.hawse("run", "-d", "--name", name, *QUIET, "sleep", "1000")
    eventually(lambda: [run["outcome"] for run in runs(lab, "quick")] == ["succeeded"] * 3)
    eventually(lambda: len(runs(lab, "slow")) == 2)
    assert {run["event"] for run in runs(lab, "slow")} == {"container.created"}
    gate.touch()
    eventually(lambda: [run["outcome"] for run in runs(lab, "slow")] == ["succeeded"] * 6)
    subjects = {run["subject"] for run in runs(lab, "slow")}
    for subject in subjects:
        events = [run["event"] for run in runs(lab, "slow") if run["subject"] == subject]
        assert events == ["container.created", "container.started"]
    (hooks / "slow.toml").unlink()
    eventually(lambda: "slow.toml" not in lab.hawse("hook", "ls").out)
    gate.unlink()
    lab.hawse("rm", "-f", "c1", "c2", "c3")


def test_what_a_container_is_called_stays_data(lab: Lab, hooks: Path) -> None:
    """Names, labels and host names with the characters of shells, paths and options."""
    declare(
        lab, "data", 'printf "%s|%s|%s" "$#" "$HAWSE_LABEL_EVIL" "$HAWSE_LABEL____ETC_PASSWD"', on="container.created"
    )
    evil = "$(touch /evil); `touch /evil` --help ../../etc/passwd\n'\""
    lab.hawse(
        "create", "--name", "evil", "-l", f"evil={evil}", "-l", "../etc/passwd=-rf", "-h", "evil.host", *QUIET, "true"
    )
    (run,) = eventually(lambda: [run for run in runs(lab, "data") if run["outcome"]])
    assert run["output"] == f"1|{evil}|-rf"
    assert not (lab.inside / "evil").exists()
    lab.hawse("rm", "evil")


def test_an_unknown_name_is_an_error(lab: Lab, hooks: Path) -> None:
    for verb in ("runs", "retry", "replay", "disable", "enable"):
        shown = lab.hawse("hook", verb, "nosuch", check=False)
        assert shown.code == 1 and "nosuch" in shown.err
