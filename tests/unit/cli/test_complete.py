"""Completion: the verbs, the flags of the table that parses them, and names from the daemon."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.daemon import CliDaemon

SCRIPTS = Path(__file__).resolve().parents[3] / "cli/install/packaged/completions"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    made.routes = {
        "GET /containers/json": lambda r: r.answer(
            [{"Names": ["/web"]}, *([{"Names": ["/old"]}] if "all" in r.query else [])]
        ),
        "GET /images/json": [{"RepoTags": ["busybox:latest", "tiny:2"]}, {"RepoTags": None}],
        "GET /networks": [{"Name": "bridge"}, {"Name": "testbr"}],
        "GET /volumes": {"Volumes": [{"Name": "data"}]},
    }
    yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sto"], ["stop"]),
        (["netw"], ["network"]),
        (["network", "c"], ["connect", "create"]),
        (["network", "inspect", "t"], ["testbr"]),
        (["network", "connect", ""], ["bridge", "testbr"]),
        (["network", "connect", "bridge", ""], ["old", "web"]),
        (["rm", ""], ["old", "web"]),
        (["stop", ""], ["web"]),
        (["stop", "-t", "3", "w"], ["web"]),
        (["rm", "--f"], ["--force"]),
        (["run", "--netw"], ["--network", "--network-alias"]),
        (["run", "--network", "b"], ["bridge"]),
        (["run", "-d", ""], ["busybox", "busybox:latest", "tiny:2"]),
        (["run", "busybox", "--netw"], [":files"]),
        (["run", "--restart", "on"], ["on-failure"]),
        (["exec", "-it", ""], ["web"]),
        (["exec", "web", ""], [":files"]),
        (["kill", "-s", "US"], ["USR1", "USR2"]),
        (["cp", ""], [":files", "old:", "web:"]),
        (["volume", "rm", ""], ["data"]),
        (["rename", "web", "new", ""], []),
        (["--ho"], ["--host"]),
        (["--root", "/x", "sto"], ["stop"]),
        (["--root", ""], []),
        (["nonsense", ""], []),
        (["network", "nonsense", ""], []),
    ],
)
def test_candidates(daemon: CliDaemon, words: list[str], expected: list[str]) -> None:
    said = daemon.run("__complete", *words)
    assert (said.code, said.out.split(), said.err) == (0, expected, "")


def test_without_a_daemon_there_is_nothing_to_offer_and_no_noise(tmp_path: Path) -> None:
    daemon = CliDaemon(tmp_path)
    daemon.close()
    said = daemon.run("__complete", "rm", "")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_bash(daemon: CliDaemon, tmp_path: Path) -> None:
    program = tmp_path / "hawse"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from hawse.cli.main import main; main()' \"$@\"\n")
    program.chmod(0o755)
    script = (
        f"source {SCRIPTS}/hawse.bash; COMP_WORDS=({program} network inspect t); COMP_CWORD=3; _hawse; "
        'echo "${COMPREPLY[@]}"'
    )
    shown = subprocess.run(["bash", "-c", script], env=daemon.environment, capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("testbr\n", "")


@pytest.mark.parametrize(("shell", "script"), [("bash", "hawse.bash"), ("zsh", "_hawse"), ("fish", "hawse.fish")])
def test_the_scripts_parse(shell: str, script: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", SCRIPTS / script], check=True)
