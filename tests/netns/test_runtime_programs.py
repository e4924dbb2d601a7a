"""Programs from start to exit: exit codes and docker's words, streams, attach, terminals."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from hawse.supervisor.runtime.client import AttachOptions
from tests.netns.boxes import Box, Boxes, eventually, read_all, receive_until, runs, unframe

# -- exit codes


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 7", 7, None), ("true", 0, None), ("kill -9 $$", 0, None)]
)
async def test_exit_codes(boxes: Boxes, script: str, code: int, number: int | None) -> None:
    """A pid namespace's first process cannot kill itself."""
    ended = await boxes.sh(script)
    assert (ended.exit.code, ended.exit.signal) == (code, number)


async def test_a_killed_program(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    box.shim.kill(signal.SIGKILL)
    ended = await box.finish()
    assert (ended.exit.code, ended.exit.signal, ended.exit.oom) == (137, 9, False)
    assert 0 < ended.exit.started_at < ended.exit.finished_at
    record = json.loads((Path(box.spec.state_dir) / "exit.json").read_text())
    assert (record["code"], record["signal"]) == (137, 9)


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("nope",), 127, 'exec: "nope": executable file not found in $PATH: unknown'),
        (("/nope",), 127, 'exec: "/nope": stat /nope: no such file or directory: unknown'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied: unknown'),
        (("/tmp",), 126, 'exec: "/tmp": is a directory: unknown'),
        (("/bin/garbage",), 126, 'exec: "/bin/garbage": exec format error: unknown'),
        (("/bin/orphan",), 127, 'exec: "/bin/orphan": no such file or directory: unknown'),
        ((), 125, "no command specified"),
    ],
)
async def test_what_cannot_be_executed(boxes: Boxes, argv: tuple[str, ...], code: int, text: str) -> None:
    for name, content in (("garbage", "\0\1\2"), ("orphan", "#!/not/there\n")):
        (boxes.lower / "bin" / name).write_text(content)
        (boxes.lower / "bin" / name).chmod(0o755)
    with pytest.raises(StartError) as caught:
        await boxes.run(*argv)
    assert (caught.value.exit_code, caught.value.stage, caught.value.message) == (code, "exec", text)


async def test_a_program_that_its_user_may_not_execute(boxes: Boxes) -> None:
    (boxes.lower / "bin/busybox").chmod(0o700)
    with pytest.raises(StartError, match="permission denied") as caught:
        await boxes.run("true", user="app")
    assert caught.value.exit_code == 126


async def test_arguments_and_environment_as_they_are(boxes: Boxes) -> None:
    odd = ["a b", "", "ü\udcff", "*", "$HOME", "new\nline"]
    ended = await boxes.run(
        "sh", "-c", 'for a; do printf "<%s>" "$a"; done; printf "{%s}" "$ODD"', "sh", *odd[:2], *odd[3:]
    )
    assert ended.stdout == "<a b><><*><$HOME><new\nline>{}"
    ended = await boxes.run("sh", "-c", 'printf "%s" "$ODD"', env=["PATH=/bin", "ODD=a=b ü", "NOTHING="])
    assert ended.stdout == "a=b ü"


# -- streams


async def test_streams_are_told_apart_and_can_be_opened_again(boxes: Boxes) -> None:
    for user in ("", "app"):
        ended = await boxes.sh("echo out; echo err >&2; echo again > /dev/stdout; echo more > /dev/stderr", user=user)
        assert (ended.stdout, ended.stderr) == ("out\nagain\n", "err\nmore\n")


async def test_a_last_line_without_its_newline(boxes: Boxes) -> None:
    assert (await boxes.sh("printf 'a\\nno newline'")).stdout == "a\nno newline"


async def test_a_prompt_reaches_the_log_while_the_program_waits(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "printf 'name? '; sleep 100"))
    await box.wait_said("name? ")


async def test_without_input_there_is_none(boxes: Boxes) -> None:
    assert (await boxes.sh("cat; echo done; readlink /proc/self/fd/0")).stdout == "done\n/dev/null\n"


async def test_attach_before_the_start_misses_nothing(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions(framed=True)))

    box = await boxes.start(boxes.spec("sh", "-c", "echo out; echo err >&2"), before_go=attach)
    data = await read_all(clients[0])
    assert (unframe(data, 1), unframe(data, 2)) == (b"out\n", b"err\n")
    await box.finish()


async def test_input_with_half_close(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions(stdin=True, framed=True), prefix=b"from the request, "))

    box = await boxes.start(boxes.spec("cat", stdin=True, stdin_once=True), before_go=attach)
    await asyncio.get_running_loop().sock_sendall(clients[0], b"then more")
    clients[0].shutdown(socket.SHUT_WR)
    assert unframe(await read_all(clients[0]), 1) == b"from the request, then more"
    assert (await box.finish()).code == 0


async def test_input_stays_open_for_the_next_client(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("cat", stdin=True))
    for text in (b"first\n", b"second\n"):
        client = await box.attach(AttachOptions(stdin=True))
        await asyncio.get_running_loop().sock_sendall(client, text)
        await receive_until(client, text)
        client.close()
    await box.wait_said("second\n")
    assert box.said() == "first\nsecond\n"


async def test_several_clients_see_the_same(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("cat", stdin=True, stdin_once=True))
    clients = [await box.attach(AttachOptions(stdin=number == 0)) for number in range(3)]
    await asyncio.get_running_loop().sock_sendall(clients[0], b"hello")
    clients[0].shutdown(socket.SHUT_WR)
    assert [await read_all(client) for client in clients] == [b"hello"] * 3
    await box.finish()


async def test_attach_with_the_log_before(boxes: Boxes) -> None:
    box = await boxes.start(
        boxes.spec("sh", "-c", "echo one; echo two >&2; cat; echo three", stdin=True, stdin_once=True)
    )
    await box.wait_said("one")
    client = await box.attach(AttachOptions(stdin=True, framed=True, logs=True))
    await receive_until(client, b"two\n")
    client.shutdown(socket.SHUT_WR)
    assert unframe(await read_all(client), 1) == b"three\n"
    assert (await box.finish()).stdout == "one\nthree\n"


async def test_a_flood_is_slowed_not_lost(boxes: Boxes) -> None:
    """The client reads nothing for a while: the program stops, the shim's memory does not grow, and every byte arrives."""
    size = 8_000_000
    line = "0123456789" * 50
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions()))

    box = await boxes.start(boxes.spec("sh", "-c", f"yes {line} | head -c {size}"), before_go=attach)
    grown: list[int] = []

    def stalled() -> bool:
        grown.append(Path(box.spec.log_path).stat().st_size)
        return len(grown) > 20 and grown[-1] == grown[-20] > 0

    await eventually(stalled)
    assert grown[-1] < 2_000_000
    assert rss(box.shim.shim_identity.pid) < 40_000
    data = await read_all(clients[0])
    expected = f"{line}\n".encode() * (size // len(line))
    assert data == expected[:size]
    assert (await box.finish()).stdout.encode() == data


def rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_a_client_that_leaves_does_not_stop_the_program(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "yes 1234567 | head -c 3000000; echo end"))
    client = await box.attach(AttachOptions())
    client.close()
    assert (await box.finish()).stdout.endswith("end\n")


async def test_output_that_a_slow_client_left_unread_is_still_delivered_after_the_end(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions()))

    box = await boxes.start(boxes.spec("sh", "-c", "yes 1234567 | head -c 400000"), before_go=attach)
    await box.finish()  # the shim is gone now
    assert len(await read_all(clients[0])) == 400_000


# -- terminals


async def test_a_terminal(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        await box.shim.resize(33, 99)
        clients.append(await box.attach(AttachOptions(stdin=True)))

    script = "tty; stty size; test -c /dev/console && echo console; stat -c %u $(tty); exec sh -i"
    box = await boxes.start(boxes.spec("sh", "-c", script, tty=True, stdin=True, user="app"), before_go=attach)
    client = clients[0]
    said = await receive_until(client, b"1000\r\n")
    assert said.split()[:5] == [b"/dev/pts/0", b"33", b"99", b"console", b"1000"]
    loop = asyncio.get_running_loop()
    await box.shim.resize(44, 55)
    await loop.sock_sendall(client, b"stty size\n")
    await receive_until(client, b"44 55\r\n")
    # ctrl-c interrupts what runs in the foreground, so this is the controlling terminal
    await loop.sock_sendall(client, b"sleep 100\n")
    await eventually(lambda: runs(box.shim.pid, b"sleep"))
    await loop.sock_sendall(client, b"\x03echo $?\nexit 3\n")
    assert b"130" in await read_all(client)
    assert (await box.finish()).code == 3


async def test_detach_keys(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("cat", tty=True, stdin=True))
    client = await box.attach(AttachOptions(stdin=True, detach_keys="ctrl-x,x"))
    await asyncio.get_running_loop().sock_sendall(client, b"typed\x18y\n")
    await receive_until(client, b"typed\x18y\r\n")
    await asyncio.get_running_loop().sock_sendall(client, b"\x18")
    await asyncio.get_running_loop().sock_sendall(client, b"xnever seen")
    await read_all(client)
    again = await box.attach(AttachOptions(stdin=True))
    await asyncio.get_running_loop().sock_sendall(again, b"back\n")
    await receive_until(again, b"back\r\nback\r\n")
    again.close()
