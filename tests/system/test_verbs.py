"""Our own command line, verb by verb: what each does to the kernel and to files, for those that no other file here is about."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import HOST, REPOSITORY, Lab
from hawse.cli.selftest.snapshot import pid_inside
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.system.cgroups import frozen

LISTENS = "trap 'exit 4' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def box(lab: Lab) -> Iterator[str]:
    lab.hawse("run", "-d", "--name", "box", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    yield "box"
    lab.hawse("rm", "-f", "box")


@pytest.fixture
def listener(lab: Lab) -> Iterator[str]:
    """Says what it is sent."""
    lab.hawse("run", "-d", "-i", "--name", "listener", "busybox", "sh", "-c", LISTENS)
    eventually(lambda: lab.hawse("logs", "listener").out == "up\n")
    yield "listener"
    lab.hawse("rm", "-f", "listener")


def test_attach_passes_streams_signals_and_the_exit_code(lab: Lab) -> None:
    lab.hawse("run", "-d", "-i", "--name", "echo", "busybox", "sh", "-c", "read x; echo got $x; echo err >&2; exit 6")
    shown = lab.hawse("attach", "--no-stdin", "nobody", check=False)
    assert shown.code == 1 and "No such container: nobody" in shown.err
    silent = lab.popen(["hawse", "attach", "--no-stdin", "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    eventually(lambda: _talks(lab, silent.pid))
    shown = lab.hawse("attach", "echo", input=b"word\n", check=False)
    assert (shown.code, shown.out, shown.err) == (6, "got word\n", "err\n")
    assert (silent.communicate(b"not this\n", timeout=PATIENCE)[0], silent.returncode) == (b"got word\n", 6)
    refused = lab.hawse("attach", "echo", check=False)
    assert refused.code == 1 and "cannot attach to a stopped container" in refused.err
    lab.hawse("rm", "echo")


@pytest.mark.parametrize("verb", ["attach", "start"])
def test_sig_proxy_and_detach_keys(lab: Lab, verb: str) -> None:
    def client(*flags: str) -> list[str]:
        return ["hawse", verb, *(("-a", "-i") if verb == "start" else ()), *flags, "box"]

    lab.hawse("create", "-i", "--name", "box", "busybox", "sh", "-c", LISTENS)
    for proxied in (False, True):
        if verb == "attach":
            lab.hawse("start", "box")
            eventually(partial(_is_up, lab, 1 + proxied))
        process = lab.popen(client(f"--sig-proxy={proxied}".lower()), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        if verb == "start":
            assert process.stdout.readline() == b"up\n"
        else:
            eventually(partial(_talks, lab, process.pid))
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == (4 if proxied else -signal.SIGUSR1)
        assert lab.inspect("box")["State"]["Running"] is not proxied
        lab.hawse("kill", "box", check=False)
        lab.hawse("wait", "box")
    lab.hawse("rm", "box")
    lab.hawse("create", "-it", "--name", "box", "busybox", "sh")
    if verb == "attach":
        lab.hawse("start", "box")
    with lab.pty(client("--detach-keys", "ctrl-x,q")) as terminal:
        terminal.type("echo $((40+2))\n")
        terminal.expect("42")
        terminal.type("\x18q")
        assert terminal.wait() == 0
    assert lab.inspect("box")["State"]["Running"]
    lab.hawse("rm", "-f", "box")


def _is_up(lab: Lab, times: int) -> bool:
    """Whether the program's traps are set, as it has said at each start."""
    return lab.hawse("logs", "box").out == "up\n" * times


def _talks(lab: Lab, pid: int) -> bool:
    """Whether the client waits for the end of the program, attached to it."""
    fds = (lab.inside / f"proc/{pid_inside(pid)}/fd").iterdir()
    return sum("socket:" in os.readlink(fd) for fd in fds) >= 2


def test_start_with_its_input(lab: Lab) -> None:
    lab.hawse("create", "-i", "--name", "sums", "busybox", "sha256sum")
    data = os.urandom(100_000)
    first, second = (lab.hawse("start", "-a", "-i", "sums", input=data).out for _ in range(2))
    assert first == second == lab.run(["sha256sum"], input=data).out
    lab.hawse("rm", "sums")


def test_pause_stops_the_processes(lab: Lab, box: str) -> None:
    lab.hawse("exec", "-d", box, "sh", "-c", "while :; do echo x >> /ticks; sleep 0.02; done")
    written = lab.root / "containers" / str(lab.inspect(box)["Id"])
    ticks = eventually(lambda: [*written.rglob("ticks")].pop())
    lab.hawse("pause", box)
    seen = ticks.stat().st_size
    assert frozen(lab, box)
    refused = lab.hawse("exec", box, "true", check=False)
    assert refused.code == 1 and "is paused" in refused.err
    assert ticks.stat().st_size == seen
    lab.hawse("unpause", box)
    eventually(lambda: ticks.stat().st_size > seen)
    assert not frozen(lab, box)


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_the_signal_of_stop_and_restart(lab: Lab, listener: str, verb: str) -> None:
    """By itself its stop signal, which this one ignores, would end it only after the grace time."""
    begun = lab.inspect(listener)["State"]["StartedAt"]
    lab.hawse(verb, "-s", "USR1", "-t", "60", listener)
    told = lab.hawse(
        "events", "--no-follow", "--tail", "1", "-f", "type=container.exited", "-f", f"container={listener}"
    )
    assert json.loads(told.out)["data"]["exit"]["code"] == 4
    now = lab.inspect(listener)["State"]
    assert now["Running"] is (verb == "restart") and (now["StartedAt"] != begun) is (verb == "restart")


def test_ps_chooses(lab: Lab, box: str) -> None:
    lab.hawse("network", "create", "quay")
    old = lab.hawse("create", "--name", "old", "-l", "tier=db", "--network", "quay", "-v", "vol:/v", "busybox", "true")
    new = lab.hawse("run", "-d", "--name", "new", "--health-cmd", "true", "busybox", "sh", "-c", "exit 5")
    lab.hawse("wait", "new")
    old_id, new_id, box_id = old.out.strip(), new.out.strip(), str(lab.inspect(box)["Id"])

    def ids(*flags: str) -> list[str]:
        return lab.hawse("ps", "-q", "--no-trunc", *flags).out.split()

    assert ids() == [box_id] and ids("-a") == [new_id, old_id, box_id]
    assert ids("-l") == [new_id] and ids("-n", "2") == [new_id, old_id]
    for text, found in (
        ("status=created", [old_id]), ("exited=5", [new_id]), ("label=tier=db", [old_id]), ("name=^/?ol", [old_id]),
        (f"id={box_id[:10]}", [box_id]), ("network=quay", [old_id]), ("volume=vol", [old_id]), ("publish=8080", [box_id]),
        ("before=new", [old_id, box_id]), ("since=old", [new_id]), ("ancestor=busybox", [new_id, old_id, box_id]),
        ("ancestor=other", []), ("status=exited", [new_id]),
    ):  # fmt: skip
        assert ids("-a", "--filter", text) == found, text
    lab.hawse("exec", box, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=3")
    assert re.search(r" 3\.\d+MB \(virtual ", lab.hawse("ps", "-s").out)
    size = json.loads(lab.hawse("inspect", "--size", box).out)[0]
    assert 3 << 20 <= size["SizeRw"] < size["SizeRootFs"] and "SizeRw" not in lab.inspect(box)
    refused = lab.hawse("inspect", "--type", "volume", box, check=False)
    assert refused.code == 1 and json.loads(refused.out) == []
    assert json.loads(lab.hawse("inspect", "--type", "volume", "vol").out)[0]["Name"] == "vol"
    lab.hawse("rm", "old", "new")
    lab.hawse("network", "rm", "quay")
    lab.hawse("volume", "rm", "vol")


def test_top_port_and_stats_of_a_running_one(lab: Lab, box: str) -> None:
    head, line = lab.hawse("top", box, "-o", "pid,args").out.splitlines()
    assert head.split() == ["PID", "COMMAND"]
    assert line.split(maxsplit=1) == [str(lab.inspect(box)["State"]["Pid"]), "httpd -f -p 80 -h /www"]
    assert lab.hawse("port", box).out == "80/tcp -> 0.0.0.0:8080\n"
    assert lab.hawse("port", box, "80").out == "0.0.0.0:8080\n"
    lab.hawse("create", "--name", "idle", "busybox", "true")
    (shown,) = map(json.loads, lab.hawse("stats", "--no-stream", "--no-trunc", "--format", "json").out.splitlines())
    assert (shown["Name"], shown["ID"], shown["PIDs"]) == (box, lab.inspect(box)["Id"], "1")
    assert sorted(lab.hawse("stats", "--no-stream", "-a", "--format", "{{.Name}}").out.split()) == [box, "idle"]
    lab.hawse("rm", "idle")


def test_exec_with_all_capabilities_and_an_env_file(lab: Lab, box: str) -> None:
    (lab.share / "env").write_text("# comment\nONE=1 2\n")
    shown = lab.hawse(
        "exec", "--privileged", "--env-file", "env", box,
        "sh", "-c", "grep CapEff /proc/self/status; echo $ONE", cwd=lab.share,
    )  # fmt: skip
    capabilities, one = shown.out.splitlines()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert int(capabilities.split()[1], 16) == (1 << last + 1) - 1 and one == "1 2"
    (lab.share / "env").unlink()
    with lab.pty(["hawse", "exec", "-it", "--detach-keys", "ctrl-x,q", box, "sh"]) as terminal:
        terminal.expect("/ # ")
        terminal.type("\x18q")
        terminal.wait()
    assert len(lab.hawse("top", box).out.splitlines()) >= 2


def test_cp_diff_and_export(lab: Lab, box: str) -> None:
    own = lab.share / "own"
    own.mkdir()
    (own / "file").write_text("text\n")
    os.chown(own / "file", 1000, 50)
    (own / "link").symlink_to("file")
    with lab.pty(["hawse", "cp", str(own), f"{box}:/plain"]) as terminal:
        terminal.expect("Successfully copied")
        assert terminal.wait() == 0
    with lab.pty(["hawse", "cp", "-q", "-a", str(own), f"{box}:/kept"]) as terminal:
        assert terminal.wait() == 0 and terminal.seen == b""
    stat = ("stat", "-c", "%u %g %F", "/plain/file", "/kept/file", "/kept/link")
    assert lab.hawse("exec", box, *stat).out.splitlines() == [
        "0 0 regular file", "1000 50 regular file", "0 0 symbolic link",
    ]  # fmt: skip
    lab.hawse("cp", f"{box}:/kept/link", own / "as-link")
    lab.hawse("cp", "-L", f"{box}:/kept/link", own / "as-file")
    assert (own / "as-link").is_symlink() and not (own / "as-file").is_symlink()
    assert (own / "as-file").read_text() == "text\n"
    packed = lab.hawse("cp", f"{box}:/kept/.", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {"file", "link"} <= {Path(name).name for name in archive.getnames()}
    assert {"A /kept", "A /kept/file"} <= set(lab.hawse("diff", box).out.splitlines())
    lab.hawse("export", "-o", own / "all.tar", box)
    with tarfile.open(own / "all.tar") as archive:
        member = archive.getmember("kept/file")
        assert (member.uid, member.gid, member.size) == (1000, 50, 5)
    lab.run(["rm", "-r", str(own)])


CHANGES = [
    'ENTRYPOINT ["sh", "-c"]', 'CMD ["id -u; pwd; echo $A; trap \\"exit 7\\" USR1; echo up; while :; do sleep 0.05; done"]',
    "ENV A=of-the-image", "WORKDIR /made/here", "USER app", "EXPOSE 7000/udp", "VOLUME /hold", "STOPSIGNAL SIGUSR1",
    "LABEL k=v", "HEALTHCHECK --interval=100ms CMD test -e /tmp/well",
]  # fmt: skip


@pytest.mark.parametrize("verb", ["commit", "import"])
def test_an_image_s_configuration_is_honoured(lab: Lab, verb: str) -> None:
    changes = [word for change in CHANGES for word in ("--change", change)]
    lab.hawse("create", "--name", "author", "busybox", "true")
    if verb == "commit":
        lab.hawse("commit", "-a", "me", "-m", "said", *changes, "author", "full:1")
    else:
        packed = lab.hawse("export", "author").stdout
        lab.hawse("import", "-m", "said", *changes, "-", "full:1", input=packed)
    lab.hawse("rm", "author")
    lab.hawse("tag", "full:1", "other:2")
    (image,) = json.loads(lab.hawse("image", "inspect", "other:2").out)
    assert image["Comment"] == "said" and set(image["RepoTags"]) == {"full:1", "other:2"}
    assert "said" in lab.hawse("history", "--no-trunc", "full:1").out
    lab.hawse("run", "-d", "--name", "app", "full:1")
    eventually(lambda: lab.hawse("logs", "app").out == "1000\n/made/here\nof-the-image\nup\n")
    shown = lab.inspect("app")
    assert "7000/udp" in shown["NetworkSettings"]["Ports"] and shown["Config"]["Labels"]["k"] == "v"
    (mount,) = shown["Mounts"]
    assert mount["Destination"] == "/hold" and Path(mount["Source"]).is_dir()
    lab.hawse("exec", "app", "touch", "/tmp/well")
    lab.hawse("wait", "--for", "healthy", "app")
    lab.hawse("stop", "-t", "60", "app")
    assert lab.inspect("app")["State"]["ExitCode"] == 7
    lab.hawse("rm", "-v", "app")
    assert not Path(mount["Source"]).exists()
    given = ("-e", "A=mine", "-w", "/tmp", "-u", "0", "--no-healthcheck", "--stop-signal", "KILL", "-l", "k=w")
    lab.hawse("create", "--name", "app", *given, "--entrypoint", "sh", "full:1", "-c", "id -u; pwd; echo $A")
    assert lab.hawse("start", "-a", "app").out == "0\n/tmp\nmine\n"
    shown = lab.inspect("app")
    assert shown["Config"]["Labels"]["k"] == "w" and "Health" not in shown["State"]
    lab.hawse("rm", "-v", "app")
    lab.hawse("rmi", "full:1", "other:2")


@pytest.mark.parametrize("pause", [True, False])
def test_commit_of_a_running_one_leaves_it_so(lab: Lab, box: str, pause: bool) -> None:
    lab.hawse("exec", box, "touch", "/made")
    lab.hawse("commit", f"--pause={pause}".lower(), box, "twin:1")
    assert lab.inspect(box)["State"]["Status"] == "running" and not frozen(lab, box)
    eventually(lambda: lab.client.get(HOST, 8080) == b"hello from busybox\n")
    lab.hawse("pause", box)
    lab.hawse("commit", box, "twin:2")
    assert lab.inspect(box)["State"]["Status"] == "paused" and frozen(lab, box)
    assert lab.hawse("run", "--rm", "twin:2", "ls", "/made").out == "/made\n"
    lab.hawse("rmi", "twin:1", "twin:2")


def test_prune_takes_what_is_unused_and_matches(lab: Lab, box: str) -> None:
    for kept in ("yes", "no"):
        lab.hawse("create", "--name", f"ended-{kept}", "-l", f"keep={kept}", "-v", "/anonymous", "busybox", "true")
        lab.hawse("network", "create", "--label", f"keep={kept}", f"net-{kept}")
        lab.hawse("volume", "create", "--label", f"keep={kept}", f"vol-{kept}")
    lab.hawse("commit", "ended-no", "loose:1")
    assert "cancelled" in lab.hawse("container", "prune", input=b"n\n", check=False).err
    unkept = ("-f", "--filter", "label!=keep=yes")
    lab.hawse("container", "prune", *unkept)
    assert lab.hawse("ps", "-a", "--format", "{{.Names}}").out.split() == ["ended-yes", "box"]
    lab.hawse("network", "prune", *unkept)
    found = lab.run(["ip", "-o", "link"]).out
    assert "net-yes" in found and "net-no" not in found
    lab.hawse("volume", "prune", "-a", *unkept)
    volumes = _volumes(lab)
    assert "vol-yes" in volumes and "vol-no" not in volumes and len(volumes) == 2
    lab.hawse("image", "prune", "-f")
    assert lab.hawse("images", "-q", "loose").out, "it has a name"
    verbose = lab.hawse("system", "df", "-v").out
    assert re.search(r"^vol-yes +0 +0B", verbose, re.MULTILINE) and "ended-yes" in verbose and "loose" in verbose
    layers = len(list((lab.root / "layers").iterdir()))
    lab.hawse("system", "prune", "-f", "-a", "--volumes")
    assert lab.hawse("ps", "-aq").out.split() == [str(lab.inspect(box)["Id"])[:12]]
    assert not lab.hawse("images", "-q", "loose").out and len(list((lab.root / "layers").iterdir())) < layers
    assert _volumes(lab) == {"vol-yes"}
    assert "net-yes" not in lab.run(["ip", "-o", "link"]).out
    lab.hawse("volume", "rm", "vol-yes")


def test_images_and_volumes_by_what_they_are(lab: Lab) -> None:
    lab.hawse("create", "--name", "author", "-v", "used:/v", "busybox", "true")
    for name, flags in (("free", ("--label", "tier=db")), ("plain", ())):
        lab.hawse("volume", "create", *flags, name)
    for tag in ("made:1", "made:2"):
        lab.hawse("commit", "-c", f"LABEL tag={tag}", "author", tag)

    def volumes(text: str) -> list[str]:
        return lab.hawse("volume", "ls", "-q", "--filter", text).out.split()

    assert (volumes("dangling=true"), volumes("dangling=false")) == (["free", "plain"], ["used"])
    assert (volumes("label=tier=db"), volumes("name=pla"), volumes("driver=other")) == (["free"], ["plain"], [])
    (shown,) = json.loads(lab.hawse("volume", "inspect", "free").out)
    assert Path(shown["Mountpoint"]).is_dir() and shown["Labels"] == {"tier": "db"}
    refused = lab.hawse("volume", "create", "--opt", "type=nfs", "far", check=False)
    assert refused.code == 1 and "DriverOpts" in refused.err and not (lab.root / "volumes" / "far").exists()

    def images(*flags: str) -> list[str]:
        return sorted(lab.hawse("images", "--format", "{{.Repository}}:{{.Tag}}", *flags).out.split())

    assert images() == ["busybox:latest", "made:1", "made:2"] and images("made") == ["made:1", "made:2"]
    assert images("--filter", "reference=made:2") == images("--filter", "label=tag=made:2") == ["made:2"]
    assert lab.hawse("images", "-q", "--no-trunc", "made:1").out.strip().startswith("sha256:")
    used = lab.hawse("create", "--name", "user", "made:1", "true").out.strip()
    refused = lab.hawse("rmi", "made:1", check=False)
    assert refused.code == 1 and used[:12] in refused.err
    assert lab.hawse("history", "-q", "made:1").out.split()
    layers = len(list((lab.root / "layers").iterdir()))
    lab.hawse("rm", "user", "author")
    lab.hawse("tag", "made:2", "again:1")
    identifier = lab.hawse("images", "-q", "again:1").out.strip()
    assert lab.hawse("rmi", identifier, check=False).code == 1, "several names"
    lab.hawse("rmi", "-f", identifier)
    lab.hawse("rmi", "made:1")
    assert images() == ["busybox:latest"] and len(list((lab.root / "layers").iterdir())) == layers - 2
    lab.hawse("volume", "rm", "free", "plain", "used")
    assert not _volumes(lab)


def test_bash_completes_names_that_there_are(lab: Lab, box: str) -> None:
    script = (
        f"source {REPOSITORY}/cli/install/packaged/completions/hawse.bash; "
        'COMP_WORDS=(hawse "$@"); COMP_CWORD=$#; _hawse; echo "${COMPREPLY[@]}"'
    )

    def completed(*words: str) -> list[str]:
        return lab.run(["bash", "-c", script, "bash", *words], check=False).out.split()

    assert completed("stop", "") == [box]
    assert "busybox" in completed("run", "busy") and completed("network", "inspect", "bri") == ["bridge"]
    lab.hawse("kill", box)
    eventually(lambda: completed("stop", "") == [] and completed("start", "b") == [box])


def _volumes(lab: Lab) -> set[str]:
    return {path.name for path in (lab.root / "volumes").iterdir() if not path.name.startswith(".")}
