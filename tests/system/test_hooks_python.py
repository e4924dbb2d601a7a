"""Handlers in Python."""

from __future__ import annotations

import shutil

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

PYTHON = """
from pathlib import Path
import anyio
from hawse.handlers import on
from hawse.supervisor.errors import Forbidden

@on("container.exited", name="tell")
async def tell(event, ctx):
    Path("{out}").write_text(f"{{event.fact.container.name}} {{event.fact.exit.code}}")

@on("container.exited", attempts=1)
async def fails(event, ctx):
    raise RuntimeError("no")

@on("container.exited", attempts=1, deadline=0.1)
async def hangs(event, ctx):
    await anyio.sleep_forever()

@on("pre-start")
async def ask(question, ctx):
    if question.container.name.startswith("bad"):
        raise Forbidden("python says no")
"""


def test_handlers_in_python(lab: Lab) -> None:
    directory, out = lab.state / "handlers.d", lab.share / "told"
    directory.mkdir()
    (directory / "mine.py").write_text(PYTHON.format(out=out))
    (directory / "broken.py").write_text("import nonsense_that_is_not_there")
    (directory / "open.py").write_text("raise SystemExit")
    (directory / "open.py").chmod(0o666)
    lab.daemon.restart()
    lab.hawse("run", "--rm", "--name", "good", "--network", "none", "busybox", "sh", "-c", "exit 4", check=False)
    assert eventually(lambda: out.exists() and out.read_text()) == "good 4"
    refused = lab.hawse("run", "--rm", "--name", "bad", "--network", "none", "busybox", "true", check=False)
    assert refused.code == 125 and "python says no" in refused.err
    eventually(lambda: lab.daemon.log.count("handler_dead") >= 2)
    assert lab.daemon.log.count("handler_not_loaded") == 2
    shutil.rmtree(directory)
    lab.daemon.restart()
