"""Hooks directories and declarations: what is a hook, and what is refused with which words."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import Forbidden, UserError
from hawse.supervisor.core.eventnames import EVENTS, event_types
from hawse.supervisor.core.events import ContainerStarted, PreCreate, PreStop
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, State
from hawse.supervisor.hooks import answer
from hawse.supervisor.hooks.hook import Hook, Match, declared, variables
from hawse.supervisor.hooks.scan import check, scan
from hawse.supervisor.hooks.webhook import signature


def container(**config: object) -> Container:
    made = ContainerConfig(cmd=("true",), **config)  # type: ignore[arg-type]
    return Container(id=ContainerId("a" * 64), name="web", config=made, state=State.CREATED, created_at=1)


def toml(text: str) -> Hook:
    return declared("x.toml", Path("/x.toml"), tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('command = "/bin/true"', "on must name events"),
        ('on = "container.started"', "either command"),
        ('on = "container.started"\ncommand = "true"', "absolute path"),
        ('on = "container.started"\ncommand = "/bin/true"\nurl = "http://x"', "either command"),
        ('on = "hook.failed"\ncommand = "/bin/true"', "there is no event"),
        ('on = ["pre-start", "container.started"]\ncommand = "/bin/true"', "make two"),
        ('on = "pre-start"\nurl = "http://x"', "cannot be a url"),
        ('on = "container.*"\nurl = "file:///etc/passwd"', "must begin with"),
        ('on = "container.started"\ncommand = "/bin/true"\nmode = "ignore"', "for pre-"),
        ('on = "container.started"\ncommand = "/bin/true"\ntimeout = 0', "timeout = 0"),
        ('on = "container.started"\ncommand = "/bin/true"\nretries = true', "retries"),
        ('on = "container.started"\ncommand = "/bin/true"\ncomand = 1', "unknown key"),
        ('on = "container.started"\ncommand = "/bin/true"\nmatch = {labels = []}', "match may have"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        toml(text)


def test_match() -> None:
    fact = ContainerStarted(container=container(labels={"a": "1", "b": ""}))
    assert Match().wants(fact)
    assert Match(labels=(("a", None), ("b", "")), container="w*").wants(fact)
    assert not Match(labels=(("a", "2"),)).wants(fact)
    assert not Match(container="db*").wants(fact)
    assert not Match(network="back").wants(fact)
    hook = toml('on = "container.started"\ncommand = "/bin/true"\nmatch = {label = ["a=1"], network = ""}')
    assert hook.match.wants(fact)


@given(st.text(max_size=40))
def test_only_known_events_exist(name: str) -> None:
    if name in EVENTS or any(c in name for c in "*?["):
        return
    if f"on-{name}" not in EVENTS:
        with pytest.raises(UserError):
            event_types(name)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5))
def test_labels_never_become_other_variables(labels: dict[str, str]) -> None:
    found = variables(ContainerStarted(container=container(labels=labels)))
    assert all(key.startswith("HAWSE_") and key.replace("_", "A").isalnum() for key in found)
    assert not any("\0" in value for value in found.values())
    assert found["HAWSE_NAME"] == "web"


def test_who_could_have_written_a_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    values = list(os.stat(file))
    values[4] = 0

    def status(mode: int, uid: int = 0) -> os.stat_result:
        return os.stat_result((mode, *values[1:4], uid, *values[5:]))

    check(status(0o100755), "it")
    check(status(0o041777), "/tmp", own=False)
    for mode, uid, own in ((0o100775, 0, True), (0o100757, 0, True), (0o100755, 1000, True), (0o041777, 0, True)):
        with pytest.raises(UserError):
            check(status(mode, uid), "it", own=own)


def test_answers_are_read_as_user_input() -> None:
    asked = PreCreate(container=container(env=("A=1", "B=2"), labels={"x": "1"}))
    told = b"""{"env": ["A=9"], "labels": {"y": "2"}, "mounts": ["/a:/b:ro"], "dns": ["10.0.0.1"],
             "ports": ["127.0.0.1:8080:80"]}"""
    changed = answer.apply(asked, told)
    config = changed.container.config
    assert config.env == ("B=2", "A=9") and config.labels == {"x": "1", "y": "2"} and config.dns == ("10.0.0.1",)
    assert config.mounts[0].read_only and str(config.ports[0].host_ip) == "127.0.0.1" and config.exposed == ("80/tcp",)
    assert answer.apply(changed, told) == changed, "asked twice, nothing more"
    assert answer.apply(asked, b" \n") == asked
    for bad in (
        b"nonsense",
        b"[]",
        b'{"env": ["=x"]}',
        b'{"privileged": true}',
        b'{"dns": ["x"]}',
        b'{"ports": ["99999:1"]}',
    ):
        with pytest.raises(UserError):
            answer.apply(asked, bad)
    with pytest.raises(UserError, match="cannot have"):
        answer.apply(PreStop(container=asked.container), b'{"env": []}')


def test_signature() -> None:
    """RFC 4231, test case 2."""
    wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature(b"Jefe", b"what do ya want for nothing?") == f"sha256={wanted}"


@pytest.mark.skipif(os.geteuid() != 0, reason="hooks must be root's")
def test_the_administrator_masks_the_vendor(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    for base in ("vendor", "admin"):
        (tmp_path / base / "on-container.started.d").mkdir(parents=True)
    for name in ("10-a", "20-b", "30-c~"):
        file = tmp_path / "vendor/on-container.started.d" / name
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    (tmp_path / "admin/on-container.started.d/10-a").symlink_to("/dev/null")
    (tmp_path / "admin/nonsense.d").mkdir()
    found = scan(tmp_path / "admin", tmp_path / "vendor")
    assert [hook.name for hook in found.hooks] == ["on-container.started.d/20-b"]
    assert list(found.problems) == ["nonsense.d"]
    assert Forbidden.status == 403


def test_a_label_of_any_length_keeps_no_hook_from_being_told() -> None:
    """More than MAX_ARG_STRLEN in one, more than a quarter of the stack in all: execve(2) answers E2BIG."""
    labels = {"long": "x" * (128 * 1024), **{f"many{n}": "y" * 20_000 for n in range(300)}, "odd": "\udcff"}
    found = variables(ContainerStarted(container=container(labels=labels)))
    assert "HAWSE_LABEL_LONG" not in found
    assert found["HAWSE_NAME"] and found["HAWSE_LABEL_MANY0"] == "y" * 20_000
    assert subprocess.run(["/bin/true"], env=found, check=False).returncode == 0
