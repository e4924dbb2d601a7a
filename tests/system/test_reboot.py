"""The machine is restarted: everything that ran is gone, the disk is as it was, and the kernel has another boot id.

Played in the lab: its processes are killed, what the kernel had of ours and /run/hawse go, and another boot id is
bind-mounted over the kernel's, in the lab's mount namespace.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import uuid
from contextlib import closing

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab, remove_cgroups
from hawse.cli.selftest.snapshot import everybody
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
IMPOSTOR = """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
os.unlink(os.path.basename(sys.argv[1]))
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(os.path.basename(sys.argv[1]))
listener.listen()
print("ready", flush=True)
listener.accept()
print("asked", flush=True)
"""


def go_down(lab: Lab, *, keep_run: bool = False) -> None:
    """With `keep_run` the run directory is on a disk and still tells of this boot."""
    lab.daemon.strike()
    lab.daemon.wait_dead()
    eventually(lambda: _dead(lab))
    eventually(lambda: _unplugged(lab))
    lab.run(["nft", "flush", "ruleset"])
    lab.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])
    remove_cgroups(f"hawse_{lab.instance}")
    if not keep_run:
        lab.run(["rm", "-r", str(lab.run_dir)])


def _dead(lab: Lab) -> bool:
    """A shim's children before its death may be born after the look: each look kills whom it sees."""
    seen = [(path.name, state) for path, state, _, _ in everybody(lab.world) if path.name != "1"]
    if pids := [pid for pid, state in seen if state != "Z"]:
        lab.run(["kill", "-9", *pids], check=False)
    return not seen


def boot(lab: Lab) -> None:
    """A daemon that finds another boot id.

    It looks once and writes down what it saw.  Then the mount goes: over a covered /proc the kernel lets no container have
    a /proc of its own.  (One that is started too early by its restart policy fails, and is started again.)
    """
    other = lab.share / "boot_id"
    other.write_text(f"{uuid.uuid4()}\n")
    lab.run(["mount", "--bind", str(other), BOOT_ID])
    lab.daemon.launch()
    eventually(lambda: _boots(lab, other.read_text().strip()))
    lab.run(["umount", "--lazy", BOOT_ID])
    lab.daemon.wait_ready()


def _boots(lab: Lab, boot_id: str) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{lab.root / 'hawse.db'}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'boot_id'").fetchone()
    except sqlite3.OperationalError:  # the daemon is just opening it
        return False
    return bool(row == (boot_id,))


def _unplugged(lab: Lab) -> bool:
    """Cables go with the namespaces of the dead by themselves; the rest is deleted here."""
    ours = [x["ifname"] for x in json.loads(lab.run(["ip", "-j", "link"]).out) if "hawse" in x.get("ifalias", "")]
    for name in ours:
        lab.run(["ip", "link", "del", name], check=False)
    return not ours


def status(lab: Lab, name: str) -> str:
    return str(lab.inspect(name)["State"]["Status"])


def test_a_reboot(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "--rm", "-p", "18080:80", "busybox", "true")
    before = lab.settled()
    policies = ("always", "unless-stopped", "on-failure", "no")
    for port, policy in enumerate(policies, 8080):
        lab.hawse("run", "-d", "--name", policy, "--restart", policy, "-p", f"{port}:80", "busybox", *HTTPD)
    for policy in ("always", "unless-stopped"):
        lab.hawse("run", "-d", "--name", f"{policy}-stopped", "--restart", policy, "busybox", "sleep", "1000")
        lab.hawse("stop", "-t", "0", f"{policy}-stopped")
    lab.hawse("create", "--name", "never", "busybox", "true")
    addresses = {name: lab.address(name, "bridge") for name in policies}
    go_down(lab)
    boot(lab)
    for name in ("always", "unless-stopped", "always-stopped"):
        eventually(lambda name=name: status(lab, name) == "running")  # type: ignore[misc]
    assert {name: status(lab, name) for name in ("on-failure", "no", "unless-stopped-stopped", "never")} == {
        **dict.fromkeys(("on-failure", "no", "unless-stopped-stopped"), "exited"),
        "never": "created",
    }
    for name in ("on-failure", "no"):
        ended = lab.inspect(name)["State"]
        assert ended["Error"] == "the machine was restarted"
        assert ended["ExitCode"] != 0
    for port, name in ((8080, "always"), (8081, "unless-stopped")):
        assert lab.address(name, "bridge") == addresses[name]
        assert eventually(lambda port=port: lab.client.get(HOST, port, "/index.html"))  # type: ignore[misc]
    assert not lab.client.reaches(HOST, 8082) and not lab.client.reaches(HOST, 8083)
    fresh = [lab.hawse("run", "-d", "busybox", "sleep", "1000").out.strip() for _ in range(3)]
    assert not {lab.address(one, "bridge") for one in fresh} & set(addresses.values()), (
        "addresses are kept for what exists"
    )
    lab.hawse("start", "no")
    assert lab.address("no", "bridge") == addresses["no"]
    assert eventually(lambda: lab.client.get(HOST, 8083, "/index.html"))
    eventually(lambda: lab.hawse("audit"))
    assert not anomalies(lab.root / "hawse.db")
    assert _epochs(lab) == 2, "what readers may have seen of the last boot's end is not sure to be there"
    lab.hawse("rm", "-f", *policies, "always-stopped", "unless-stopped-stopped", "never", *fresh)
    assert lab.leaks(before) == []


def test_a_run_directory_of_another_boot_is_not_believed(bare_lab: Lab) -> None:
    """It is on a disk here, and somebody else has taken to listening on the shim's socket."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "-d", "--name", "box", "--restart", "always", "busybox", "sleep", "1000")
    go_down(lab, keep_run=True)
    (control,) = lab.run(["sh", "-c", f"ls {lab.run_dir}/containers/*/*.sock"]).out.split()
    impostor = lab.popen(["python", "-c", IMPOSTOR, control], stdout=subprocess.PIPE)
    assert impostor.stdout is not None
    with impostor, impostor.stdout:
        try:
            assert impostor.stdout.readline() == b"ready\n"
            boot(lab)
            eventually(lambda: status(lab, "box") == "running")
            assert lab.hawse("exec", "box", "echo", "alive").out == "alive\n"
            assert impostor.poll() is None, "it is nobody of ours, and is left alone"
            eventually(lambda: lab.hawse("audit"))
        finally:
            impostor.kill()
        assert impostor.stdout.read() == b"", "nobody asked it"


def _epochs(lab: Lab) -> int:
    with closing(sqlite3.connect(f"file:{lab.root / 'hawse.db'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM epochs").fetchone()[0])
