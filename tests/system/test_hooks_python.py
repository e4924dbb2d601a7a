"""Handlers in Python: files of handlers.d and installed packages; one that fails, hangs or exits hurts nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

QUIET = ("--network", "none", "busybox")
PYTHON = """
from pathlib import Path
import anyio
from hawse.handlers import on
from hawse.supervisor.core.errors import Forbidden

@on("container.exited", name="tell")
async def tell(event, ctx):
    Path("{out}").write_text(f"{{event.fact.container.name}} {{event.fact.exit.code}}")

@on("container.exited", attempts=1)
async def fails(event, ctx):
    raise RuntimeError("no")

@on("container.exited", attempts=1)
async def exits(event, ctx):
    raise SystemExit(3)

@on("container.exited", attempts=1, deadline=0.1)
async def hangs(event, ctx):
    await anyio.sleep_forever()

@on("pre-start", deadline=5)
async def ask(question, ctx):
    match question.container.name:
        case "bad":
            raise Forbidden("python says no")
        case "broken":
            raise RuntimeError("broken gate")
        case "exits":
            raise SystemExit
        case "hangs":
            await anyio.sleep_forever()
"""

PACKAGED = """
from pathlib import Path
from hawse.handlers import on

@on("container.exited")
async def told(event, ctx):
    with Path("{out}").open("a") as file:
        print(event.seq, file=file)
"""


@pytest.fixture
def site(lab: Lab) -> Iterator[Path]:
    """A directory of installed packages; what is in it is gone for the daemon after the test."""
    directory = lab.share / "site"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)
    lab.daemon.restart()


def test_files(lab: Lab) -> None:
    directory, out = lab.state / "handlers.d", lab.share / "told"
    directory.mkdir()
    (directory / "mine.py").write_text(PYTHON.format(out=out))
    (directory / "broken.py").write_text("import nonsense_that_is_not_there")
    (directory / "exits.py").write_text("raise SystemExit")
    (directory / "open.py").write_text("import nothing")
    (directory / "open.py").chmod(0o666)
    before = len(lab.daemon.log)
    lab.daemon.restart()
    assert lab.daemon.log[before:].count("handler_not_loaded") == 3
    lab.hawse("run", "--rm", "--name", "good", *QUIET, "sh", "-c", "exit 4", check=False)
    assert eventually(lambda: out.exists() and out.read_text()) == "good 4"
    for name, words in (
        ("bad", "python says no"),
        ("broken", "broken gate"),
        ("exits", "SystemExit"),
        ("hangs", "gave no answer"),
    ):
        refused = lab.hawse("run", "--rm", "--name", name, *QUIET, "true", check=False)
        assert refused.code == 125 and words in refused.err, refused
    eventually(lambda: lab.daemon.log[before:].count("handler_dead") == 3)
    assert lab.daemon.answers()
    shutil.rmtree(directory)
    lab.daemon.restart()


def test_an_installed_package(lab: Lab, site: Path) -> None:
    """Found by its entry points; its cursor is kept while the daemon is down, and forgotten when the package is gone."""
    out = site / "told"
    (site / "acme_told.py").write_text(PACKAGED.format(out=out))
    info = site / "acme_told-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-told\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hawse.handlers]\nacme = acme_told:told\nmissing = acme_told:nothing\nabsent = no_such_module\n"
    )
    lab.daemon.terminate()
    lab.daemon.start(env={"PYTHONPATH": str(site)})
    lab.hawse("run", "-d", "--name", "one", *QUIET, "sleep", "1000")
    pid = lab.inspect("one")["State"]["Pid"]
    lab.daemon.kill9()
    lab.run(["kill", "-9", str(pid)])  # while there is no daemon
    lab.daemon.start(env={"PYTHONPATH": str(site)})
    query = ("events", "--no-follow", "--format", "json", "-f", "container=one", "-f", "type=container.exited")
    seq = eventually(lambda: json.loads(lab.hawse(*query).out)["seq"])  # its shim may be slow to tell
    eventually(lambda: out.read_text() == f"{seq}\n")
    assert lab.daemon.log.count('"origin": "acme_told:nothing"') == 2
    lab.hawse("rm", "one")
    lab.daemon.terminate()
    lab.daemon.start()
    _, metrics = lab.daemon.request("GET", "/hawse/v1/metrics")
    assert "py:acme" not in metrics.decode()
