"""Programs from exec to exit: exit codes and docker's words, streams, terminals, attach, exec, crashes of the keepers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from hawse.supervisor.linux import process
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.shim.specs import MountSpec
from tests.netns.boxes import PATIENCE, Box, Boxes, eventually, read_all, unframe


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[Boxes]:
    async with Boxes(tmp_path) as made:
        yield made


async def receive_until(sock: socket.socket, text: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE):
        while text not in data:
            piece = await asyncio.get_running_loop().sock_recv(sock, 65536)
            assert piece, f"ended after {data!r}"
            data += piece
    return data


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


def runs(pid: int, program: bytes) -> bool:
    """Whether a descendant executes that program by now, and so is in the foreground of its shell's terminal."""
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(program) or runs(child, program):
                return True
    return False


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


# -- exec


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


# -- the first process


async def test_a_reaper_as_the_first_process(boxes: Boxes) -> None:
    script = "trap 'echo term; exit 9' TERM; echo $$; (sleep 0.01 &); while true; do sleep 0.05; done"
    box = await boxes.start(boxes.spec("sh", "-c", script, init=True))
    await box.wait_said("\n")
    assert int(box.said()) > 1
    code, out, _ = await box.exec("sh", "-c", "cat /proc/1/comm; ls /proc/1/fd | wc -l")
    assert code == 0
    assert out.startswith("hawse-init\n")
    await eventually(lambda: zombies(box.shim.pid) == 0)
    box.shim.kill(signal.SIGTERM)
    ended = await box.finish()
    assert ended.code == 9
    assert ended.lines[-1] == "term"


def zombies(pid: int) -> int:
    count = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            count += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return count


async def test_a_reaper_passes_on_how_the_program_was_killed(boxes: Boxes) -> None:
    assert (await boxes.sh("kill -9 $$", init=True)).code == 137
    assert (await boxes.sh("exit 4", init=True)).code == 4


async def test_a_reaper_with_a_terminal(boxes: Boxes) -> None:
    clients: list[socket.socket] = []

    async def attach(box: Box) -> None:
        clients.append(await box.attach(AttachOptions(stdin=True)))

    box = await boxes.start(boxes.spec("sh", "-i", tty=True, stdin=True, init=True), before_go=attach)
    client = clients[0]
    loop = asyncio.get_running_loop()
    await receive_until(client, b"# ")
    await loop.sock_sendall(client, b"echo begun; sleep 100\n")
    await receive_until(client, b"begun\r\n")
    await eventually(lambda: runs(box.shim.pid, b"sleep"))
    await loop.sock_sendall(client, b"\x03")
    await receive_until(client, b"# ")
    await loop.sock_sendall(client, b"echo $((6*7))\nexit 3\n")
    assert b"42" in await read_all(client)
    assert (await box.finish()).code == 3


# -- crashes


async def test_init_dies_with_its_shim(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    identity = box.shim.identity
    assert identity
    os.kill(box.shim.shim_identity.pid, signal.SIGKILL)
    await eventually(lambda: process.start_time(identity.pid) != identity.start_time)
    ended = await box.shim.wait_exit()
    assert ended.code in (137, None)  # a kernel before 6.15 has forgotten
    assert "no exit record" in ended.reason


async def test_a_shim_outlives_its_spawner_and_its_daemon(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "echo one; cat; echo two", stdin=True, stdin_once=True))
    boxes.spawner.close()
    pid = box.shim.pid
    box.shim.close()
    shim = await Shim.reconnect(Path(box.spec.socket), box.shim.id, Path(box.spec.state_dir))
    assert shim.pid == pid
    assert (await shim.state())["phase"] == "running"
    box.shim = shim
    client = await box.attach(AttachOptions(stdin=True))
    client.shutdown(socket.SHUT_WR)
    assert b"two\n" in await read_all(client)
    assert (await box.finish()).lines == ["one", "two"]


async def test_with_no_daemon_the_exit_is_still_recorded(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "read line; exit 8", stdin=True))
    identity, pidfd = box.shim.shim_identity, os.dup(box.shim.pidfd)
    client = await box.attach(AttachOptions(stdin=True))
    box.shim.close()
    boxes.spawner.close()
    await asyncio.get_running_loop().sock_sendall(client, b"go\n")
    await eventually(lambda: process.start_time(identity.pid) != identity.start_time)
    assert json.loads((Path(box.spec.state_dir) / "exit.json").read_text())["code"] == 8
    assert not Path(box.spec.socket).exists()
    os.close(pidfd)
    client.close()


async def test_an_exit_that_cannot_be_recorded_waits_for_somebody_to_tell(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sh", "-c", "read line; exit 8", stdin=True))
    (Path(box.spec.state_dir) / "exit.json").mkdir()  # as good as a full disk
    client = await box.attach(AttachOptions(stdin=True))
    box.shim.close()
    await asyncio.get_running_loop().sock_sendall(client, b"go\n")
    assert await read_all(client) == b""
    shim = await Shim.reconnect(Path(box.spec.socket), box.shim.id, Path(box.spec.state_dir))
    assert (await shim.wait_exit()).code == 8
    await shim.release()
    shim.close()


async def test_a_daemon_that_dies_in_the_middle_of_a_start_leaves_nobody(boxes: Boxes) -> None:
    shim = await boxes.spawner.launch(boxes.spec("sleep", "100"))
    await shim.wait_ready()
    init, keeper = shim.identity, shim.shim_identity
    assert init
    shim.close()
    for who in (init, keeper):
        await eventually(lambda who=who: process.start_time(who.pid) != who.start_time)


async def test_a_failed_start_leaves_nobody(boxes: Boxes) -> None:
    spec = boxes.spec("true", mounts=[MountSpec(type="bind", source="/not/there", target="/x")])
    with pytest.raises(StartError, match="/not/there"):
        await boxes.start(spec)
    await waiting_shim(boxes)  # and nobody else
    assert not Path(spec.socket).exists()
    assert not (Path(spec.state_dir) / "shim.log").exists()


async def test_a_log_that_cannot_be_opened(boxes: Boxes) -> None:
    spec = boxes.spec("true")
    os.mkdir(spec.log_path)
    with pytest.raises(StartError, match="Is a directory"):
        await boxes.start(spec)


async def test_a_spec_that_cannot_be_read(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", lambda *_: 0)
    with pytest.raises(StartError, match=r"spec\.json|No such file"):
        await boxes.start(boxes.spec("true"))


async def waiting_shim(boxes: Boxes) -> int:
    """The pid of the one that the spawner has forked ahead of time."""
    children = Path(f"/proc/{boxes.spawner.pid}/task/{boxes.spawner.pid}/children")
    found: list[int] = []

    def only_one() -> bool:
        pids = children.read_text().split()
        with contextlib.suppress(OSError):
            found[:] = [int(p) for p in pids if Path(f"/proc/{p}/comm").read_text() == "hawse-shim\n"]
        return len(pids) == len(found) == 1

    await eventually(only_one)
    return found[0]


async def test_a_waiting_shim_that_was_killed_is_replaced(boxes: Boxes) -> None:
    for _ in range(2):
        pid = await waiting_shim(boxes)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda pid=pid: process.start_time(pid) is None)
        await waiting_shim(boxes)
        assert (await boxes.sh("echo fine")).stdout == "fine\n"


async def test_waiting_processes_die_with_the_spawner(boxes: Boxes) -> None:
    shim = await waiting_shim(boxes)
    grandchildren = Path(f"/proc/{shim}/task/{shim}/children")
    await eventually(lambda: len(grandchildren.read_text().split()) == 1)
    midwife = int(grandchildren.read_text())
    boxes.spawner.close()
    for pid in (shim, midwife):
        await eventually(lambda pid=pid: process.start_time(pid) is None)


async def test_many_at_once(boxes: Boxes) -> None:
    ended = await asyncio.gather(*(boxes.sh(f"echo {number}; exit {number}") for number in range(20)))
    assert [(e.code, e.stdout) for e in ended] == [(n, f"{n}\n") for n in range(20)]
    await waiting_shim(boxes)  # and nobody else


async def test_the_rehearsal_leaves_nothing(boxes: Boxes) -> None:
    """The spawner goes through a start many times before it serves; nothing of that may reach a shim."""
    box = await boxes.start(boxes.spec("sleep", "100"))
    spawner = f"/proc/{boxes.spawner.pid}/fd"
    await eventually(lambda: len(os.listdir(spawner)) <= 5)  # 0, 1, 2, the daemon, the pipe of the shim that waits
    assert not os.listdir(boxes.path / "spawner")
    await eventually(lambda: len(os.listdir(f"/proc/{box.shim.shim_identity.pid}/fd")) <= 14)
