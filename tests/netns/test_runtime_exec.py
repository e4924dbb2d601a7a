"""exec: its streams and terminals, what it may, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from hawse.supervisor.linux import process
from tests.netns.boxes import PATIENCE, Boxes, eventually


async def test_exec(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100", user="app"))
    code, out, err = await box.exec("sh", "-c", "id -u; readlink /proc/self/ns/pid; echo no >&2; exit 5", user="")
    inside = os.readlink(f"/proc/{box.shim.pid}/ns/pid")
    assert (code, out.split(), err) == (5, ["0", inside], "no\n")
    code, out, _ = await box.exec(
        "sh", "-c", "grep -E 'Cap|NoNew' /proc/self/status; ls /proc/self/fd | wc -l; echo $HOME"
    )
    assert code == 0
    values = dict(line.split(":\t") for line in out.splitlines() if ":" in line)
    assert values["CapBnd"] == "00000000a80425fb"
    assert {values[c] for c in ("CapInh", "CapAmb", "CapEff")} == {"0" * 16}
    assert values["NoNewPrivs"] == "1"
    assert out.splitlines()[-2:] == ["4", "/home/app"]


async def test_exec_with_input_and_half_close(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    assert await box.exec("wc", "-c", stdin=b"x" * 300_000) == (0, "300000\n", "")


async def test_exec_on_a_terminal(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    code, out, _ = await box.exec(
        "sh", "-c", "tty; stat -c %u $(tty); echo $$ > /dev/tty; exit 2", tty=True, user="app"
    )
    assert code == 2
    assert out.split()[:2] == ["/dev/pts/0", "1000"]


@pytest.mark.parametrize(
    ("argv", "changes", "code", "text"),
    [
        (("nope",), {}, 127, 'exec: "nope": executable file not found in $PATH: unknown'),
        (("/tmp",), {}, 126, 'exec: "/tmp": is a directory: unknown'),
        (
            ("true",),
            {"cwd": "/not/there"},
            127,
            'chdir to cwd ("/not/there") failed: no such file or directory: unknown',
        ),
        (("true",), {"cwd": "/proc/self/cwd"}, 126, 'chdir to cwd ("/proc/self/cwd") failed:'),
        (("true",), {"user": "who"}, 125, "unable to find user who: no matching entries in passwd file"),
    ],
)
async def test_exec_that_fails(
    boxes: Boxes, argv: tuple[str, ...], changes: dict[str, str], code: int, text: str
) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    with pytest.raises(StartError) as caught:
        await box.exec(*argv, **changes)
    assert caught.value.exit_code == code
    assert text in caught.value.message
    assert (await box.exec("echo", "alive"))[1] == "alive\n"
    assert len((await box.shim.state())["execs"]) <= 1


async def test_an_exec_dies_with_the_container(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    pid = await box.shim.exec("e1", box.spec.process)
    box.shim.kill(9)
    assert await asyncio.wait_for(box.shim.exec_exit("e1"), PATIENCE) == 137
    assert process.start_time(pid) is None
    await box.finish()


async def test_exec_leaves_nothing_behind(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    shim = f"/proc/{box.shim.shim_identity.pid}"
    await box.exec("true")
    before = len(os.listdir(f"{shim}/fd"))
    for _ in range(5):
        await box.exec("true")
        with pytest.raises(StartError):
            await box.exec("nope")
    await eventually(lambda: len(os.listdir(f"{shim}/fd")) <= before)
    children = Path(f"{shim}/task/{box.shim.shim_identity.pid}/children")
    await eventually(lambda: children.read_text().split() == [str(box.shim.pid)])


async def test_nobody_inside_can_look_into_an_exec_before_it_is_restricted(boxes: Boxes) -> None:
    """CVE-2016-9962: the strongest neighbour there is, without a user namespace and with ptrace, sees no descriptor."""
    script = (
        "while true; do for p in /proc/[0-9]*; do e=$(readlink $p/exe) && [ $e != /bin/busybox ] && echo exe $e;"
        " ls -l $p/fd 2>/dev/null | grep socket; done; done"
    )
    box = await boxes.start(boxes.spec("sh", "-c", script))
    for _ in range(10):
        await box.exec("true")
    box.shim.kill(9)
    assert (await box.finish()).stdout == ""
