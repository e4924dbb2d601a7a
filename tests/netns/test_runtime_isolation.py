"""What a program inside sees and may do: ids, capabilities, descriptors, mounts, devices, masked paths, the network."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import StartError
from hawse.supervisor.linux import syscalls
from hawse.supervisor.runtime import boot
from hawse.supervisor.shim.specs import MountSpec
from tests.netns.boxes import UID_BASE, Boxes, eventually


def status(text: str, field: str) -> str:
    return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(field))


async def test_root_inside_is_nobody_outside(boxes: Boxes) -> None:
    ended = await boxes.sh("id -u; cat /proc/self/uid_map; touch /new; mkdir /etc/made; echo more >> /etc/passwd")
    assert ended.lines[0] == "0"
    assert ended.lines[1].split() == ["0", str(UID_BASE), "65536"]
    upper = boxes.path / "c1/upper"
    for name in ("new", "etc/made", "etc/passwd"):
        assert (upper / name).stat().st_uid == UID_BASE
    assert (boxes.lower / "etc/passwd").read_text().endswith(":/bin/sh\n")


async def test_layers_look_as_they_were_packed(boxes: Boxes) -> None:
    ended = await boxes.sh("stat -c '%u %g' /home/app /bin/busybox; touch /home/app/x && stat -c %u /home/app/x")
    assert ended.lines == ["1000 1000", "0 0", "0"]


async def test_upper_layers_win(boxes: Boxes) -> None:
    top = boxes.path / "top"
    top.mkdir()
    (top / "which").write_text("top")
    (boxes.lower / "which").write_text("bottom")
    spec = boxes.spec("cat", "/which")
    box = await boxes.start(replace(spec, rootfs=replace(spec.rootfs, lower=[str(top), str(boxes.lower)])))
    assert (await box.finish()).stdout == "top"


async def test_the_host_itself_as_a_throwaway_root(boxes: Boxes) -> None:
    marker = f"/etc/hawse-test-{os.getpid()}"
    spec = boxes.spec("sh", "-c", f"head -1 /etc/passwd; touch {marker}; ls {marker}; ls /proc/1/exe", env=[])
    box = await boxes.start(replace(spec, rootfs=replace(spec.rootfs, lower=["/"])))
    ended = await box.finish()
    assert ended.lines[:2] == [Path("/etc/passwd").read_text().splitlines()[0], marker]
    assert not Path(marker).exists()


async def test_without_a_user_namespace(boxes: Boxes) -> None:
    ended = await boxes.sh("cat /proc/self/uid_map; grep CapEff /proc/self/status; touch /new", uid_base=None)
    assert ended.lines[0].split() == ["0", "0", "4294967295"]
    assert ended.lines[1].split()[1] == "00000000a80425fb"
    assert (boxes.path / "c1/upper/new").stat().st_uid == 0


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (errno.EOPNOTSUPP, "lowerdir+"),  # 6.1: overlay is configured by mount(2) alone
        (errno.EBADF, "lowerdir+"),  # 6.12: no O_PATH descriptors
        (errno.EINVAL, "upperdir"),  # descriptors for one option, strings for another
    ],
    ids=["6.1", "6.12", "half"],
)
async def test_layers_by_path_for_older_kernels(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch, error: int, key: str
) -> None:
    """Kernels before 6.15 do not take our descriptors for an overlay: the way they go is the same to the container."""
    spec = boxes.spec("sh", "-c", "cat /etc/group; echo x > /new; grep ' / ' /proc/mounts")
    script = (
        "import hawse.supervisor.linux.mounts as m\n"
        "take = m.Filesystem.set_fd\n"
        "def refuse(self, key, fd):\n"
        f"    if key == {key!r}: raise OSError({error}, 'no such descriptors here')\n"
        "    take(self, key, fd)\n"
        "m.Filesystem.set_fd = refuse\n"
    )
    monkeypatch.setattr(boot, "BOOT", boot.BOOT.replace("from hawse", script + "from hawse", 1))
    async with Boxes(boxes.path / "older") as older:
        box = await older.start(spec)
        ended = await box.finish()
    assert ended.lines[0] == "root:x:0:"
    assert "lowerdir=" in ended.lines[-1]
    assert (boxes.path / "c1/upper/new").stat().st_uid == UID_BASE


@pytest.mark.parametrize("uid_base", [UID_BASE, None], ids=["userns", "host"])
async def test_capabilities_of_root(boxes: Boxes, uid_base: int | None) -> None:
    ended = await boxes.sh("cat /proc/self/status", uid_base=uid_base)
    for field in ("CapPrm", "CapEff", "CapBnd"):
        assert status(ended.stdout, field) == "00000000a80425fb", field
    for field in ("CapInh", "CapAmb"):
        assert int(status(ended.stdout, field), 16) == 0, field
    assert status(ended.stdout, "NoNewPrivs") == "1"


async def test_another_user_has_no_capabilities(boxes: Boxes) -> None:
    ended = await boxes.sh("id; cat /proc/self/status; echo $HOME", user="app")
    assert ended.lines[0] == "uid=1000(app) gid=1000(app) groups=50(staff),63(audio),1000(app)"
    assert int(status(ended.stdout, "CapEff"), 16) == int(status(ended.stdout, "CapPrm"), 16) == 0
    assert status(ended.stdout, "CapBnd") == "00000000a80425fb"
    assert ended.lines[-1] == "/home/app"


async def test_capabilities_asked_for(boxes: Boxes) -> None:
    ended = await boxes.sh("grep -E 'Cap(Eff|Bnd)' /proc/self/status", caps=["CAP_NET_ADMIN"])
    assert {line.split()[1] for line in ended.lines} == {f"{1 << 12:016x}"}


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("root:nogroup-here", "unable to find group nogroup-here: no matching entries in group file"),
        ("70000", "change to gid 0"),
        ("4294967296", "uids and gids must be in range"),
    ],
)
async def test_users_that_cannot_be(boxes: Boxes, user: str, text: str) -> None:
    if user == "70000":
        text = "change to uid 70000: Invalid argument (is it outside of the container's id range? see --userns host)"
    with pytest.raises(StartError) as caught:
        await boxes.run("true", user=user)
    assert text in caught.value.message
    assert caught.value.exit_code == 125


async def test_nothing_is_inherited(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = await boxes.sh("ls /proc/self/fd; echo --; env; echo --; grep -E '^Sig(Blk|Ign)' /proc/self/status; pwd")
    descriptors, environment, rest = ended.stdout.split("--\n")
    assert descriptors.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert set(environment.split()) - {"SHLVL=1", "PWD=/"} == {"PATH=/bin", "HOME=/root"}
    assert [int(line.split()[1], 16) for line in rest.splitlines()[:2]] == [0, 0]
    assert rest.splitlines()[2] == "/"


async def test_the_first_process_is_alone_in_its_namespaces(boxes: Boxes) -> None:
    ended = await boxes.sh("echo $$; ls -d /proc/[0-9]* | wc -l; hostname; ls /sys/class/net; ls -l /proc/1/ns")
    assert ended.lines[0] == "1"
    assert int(ended.lines[1]) <= 3  # sh, ls, wc
    assert ended.lines[2:4] == ["box", "lo"]
    ours = {os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user")}
    theirs = {line.rpartition(" ")[2] for line in ended.lines[5:]}
    assert len(theirs) >= 7
    assert not ours & theirs


async def test_masked_and_read_only_paths(boxes: Boxes) -> None:
    ended = await boxes.sh(
        "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l; ls /proc/acpi 2>/dev/null | wc -l;"
        "for f in /proc/sys/kernel/hostname /proc/fs/x /sys/x /proc/bus/x /proc/acpi/x; do"
        " (echo x > $f) 2>/dev/null && echo written $f; done; mount -o remount,rw /proc/sys 2>/dev/null && echo remounted"
    )
    assert ended.lines == ["0", "0", "0"]


async def test_devices(boxes: Boxes) -> None:
    ended = await boxes.sh(
        "head -c 4 /dev/zero | wc -c; echo gone > /dev/null; head -c 4 /dev/urandom | wc -c;"
        "readlink /dev/ptmx; readlink /dev/fd;"
        "echo full > /dev/full || echo refused; stat -c '%a %F' /dev /dev/shm; touch /dev/shm/x /dev/mqueue/q && echo ok"
    )
    assert ended.lines == ["4", "4", "pts/ptmx", "/proc/self/fd", "refused", "755 directory", "1777 directory", "ok"]


async def test_device_nodes_of_an_image_are_dead(boxes: Boxes) -> None:
    os.mknod(boxes.lower / "kmsg", stat.S_IFCHR | 0o666, os.makedev(1, 11))
    os.mknod(boxes.lower / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    ended = await boxes.sh("head -c 1 /zero; mknod /mine c 1 5; head -c 1 /mine", uid_base=None)
    assert ended.stdout == ""
    assert ended.stderr.count("denied") >= 2


async def test_binds_keep_their_owners(boxes: Boxes) -> None:
    shared = boxes.path / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "sub/theirs").write_text("x")
    os.chown(shared / "sub/theirs", 1000, 1000)
    mounts = [MountSpec(type="bind", source=str(shared), target="/data/deep")]
    ended = await boxes.sh("stat -c '%u' /data/deep /data/deep/sub/theirs; echo y > /data/deep/ours", mounts=mounts)
    assert ended.lines == ["0", "1000"]
    assert (shared / "ours").stat().st_uid == 0


async def test_read_only_binds_and_files(boxes: Boxes) -> None:
    file = boxes.path / "file"
    file.write_text("host\n")
    mounts = [
        MountSpec(type="bind", source=str(file), target="/etc/given", read_only=True),
        MountSpec(type="bind", source=str(boxes.path / "lower"), target="/mnt", read_only=True),
        MountSpec(type="tmpfs", target="/scratch", data="size=64k,mode=700"),
    ]
    ended = await boxes.sh(
        "cat /etc/given; echo x > /etc/given || echo ro; touch /mnt/x || echo ro; touch /scratch/x;"
        "stat -c %a /scratch; mount | grep -c 'tmpfs on /scratch.*nosuid.*nodev.*noexec.*size=64k'",
        mounts=mounts,
    )
    assert ended.lines == ["host", "ro", "ro", "700", "1"]
    assert file.read_text() == "host\n"


async def test_submounts_come_along(boxes: Boxes) -> None:
    ended = await boxes.sh(
        "ls -d /host/null; grep -c ' /host' /proc/mounts",
        mounts=[MountSpec(type="bind", source="/dev", target="/host", idmap=False)],
    )
    assert ended.lines[0] == "/host/null"
    assert int(ended.lines[1]) >= 2  # /dev/pts, /dev/shm


async def test_a_bind_that_cannot_be_mapped_says_what_to_do(boxes: Boxes) -> None:
    with pytest.raises(StartError, match=r"/proc/sys: .*does not support id-mapped mounts.*--userns host"):
        await boxes.run("true", mounts=[MountSpec(type="bind", source="/proc/sys", target="/x")])


async def test_a_missing_bind_source_is_named(boxes: Boxes) -> None:
    with pytest.raises(StartError, match="/nowhere/at/all: No such file or directory"):
        await boxes.run("true", mounts=[MountSpec(type="bind", source="/nowhere/at/all", target="/x")])


@pytest.mark.parametrize("target", ["/proc/sys", "/", "/a/../b"])
async def test_targets_that_nobody_may_mount_on(boxes: Boxes, target: str) -> None:
    with pytest.raises(StartError, match="mount target"):
        await boxes.run("true", mounts=[MountSpec(type="tmpfs", target=target)])


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize("goal", ["/proc", "/proc/sys", "/proc/self/../sys/kernel", "/"])
async def test_nor_by_a_link_of_the_image(boxes: Boxes, goal: str, kind: str) -> None:
    (boxes.lower / "link").symlink_to(goal)
    source = str(boxes.path) if kind == "bind" else ""
    with pytest.raises(StartError, match="mount target /link: "):
        await boxes.run("true", mounts=[MountSpec(type=kind, source=source, target="/link")])


async def test_a_symlink_of_the_image_never_leads_outside(boxes: Boxes) -> None:
    """CVE-2025-31133, CVE-2026-41579, GHSA-vp62-88p7-qqf5: mount targets that point at the host."""
    outside = boxes.path / "outside"
    outside.mkdir()
    source = boxes.path / "source"
    source.mkdir()
    (source / "came").touch()
    (boxes.lower / "link").symlink_to(outside)
    (boxes.lower / "up").symlink_to("../../../../../../../.." + str(outside))
    (boxes.lower / "dangling").symlink_to("/not/there")
    mounts = [
        MountSpec(type="bind", source=str(source), target=target) for target in ("/link/in", "/up/in", "/dangling/in")
    ]
    ended = await boxes.sh(f"ls /link/in /up/in /not/there/in {outside}", mounts=mounts)
    assert ended.stdout.count("came") == 3
    assert list(outside.iterdir()) == []
    assert f"{outside}:\nin" in ended.stdout  # inside, the same names lead to the container's own


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
async def test_an_image_whose_system_directories_are_links(boxes: Boxes, name: str) -> None:
    """CVE-2026-41579."""
    (boxes.lower / name).rmdir()
    (boxes.lower / name).symlink_to("/etc")
    before = sorted(os.listdir("/etc"))
    with pytest.raises(StartError, match=f"on /{name}: "):
        await boxes.run("true")
    assert sorted(os.listdir("/etc")) == before


async def test_an_image_whose_null_is_a_trap(boxes: Boxes) -> None:
    """CVE-2025-31133: what masks a file is the host's null device, whatever the image has in its place."""
    (boxes.lower / "dev/null").symlink_to("/proc/sysrq-trigger")
    ended = await boxes.sh("stat -c %F /dev/null /proc/keys; cat /proc/keys")
    assert ended.lines == ["character special file"] * 2


@pytest.mark.parametrize("cwd", [f"/proc/self/fd/{n}" for n in range(3, 21)] + ["/proc/self/cwd", "/proc/1/root"])
async def test_no_working_directory_outside(boxes: Boxes, cwd: str) -> None:
    """CVE-2024-21626."""
    with pytest.raises(StartError, match="chdir to cwd"):
        await boxes.run("true", cwd=cwd)


async def test_a_missing_working_directory_is_made(boxes: Boxes) -> None:
    assert (await boxes.sh("pwd; stat -c %u .", cwd="/srv/app/new")).lines == ["/srv/app/new", "0"]


async def test_a_read_only_root(boxes: Boxes) -> None:
    spec = boxes.spec("sh", "-c", "touch /x || echo ro; touch /dev/shm/x && echo rw")
    box = await boxes.start(replace(spec, rootfs=replace(spec.rootfs, read_only=True)))
    assert (await box.finish()).lines == ["ro", "rw"]


async def test_sysctls_limits_and_oom_score(boxes: Boxes) -> None:
    ended = await boxes.sh(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax /proc/self/oom_score_adj; ulimit -n",
        sysctls={"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "4096"},
        rlimits={"nofile": [100, 200]},
        oom_score_adj=500,
    )
    assert ended.lines == ["0", "4096", "500", "100"]


async def test_a_sysctl_that_does_not_exist(boxes: Boxes) -> None:
    with pytest.raises(StartError, match=r"sysctl net\.nope=1: .*No such file"):
        await boxes.run("true", sysctls={"net.nope": "1"})


async def test_sharing_the_hosts_network(boxes: Boxes) -> None:
    """The shim's own network namespace is the host's here."""
    spec = boxes.spec("sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net; touch /sys/x", net="host")
    box = await boxes.start(spec)
    shims = os.readlink(f"/proc/{box.shim.shim_identity.pid}/ns/net")
    assert (await box.finish()).lines == [shims, "lo"]
    assert box.shim.netlink is None


async def test_sharing_another_containers_network(boxes: Boxes) -> None:
    first = await boxes.start(boxes.spec("sleep", "100"))
    theirs = os.readlink(f"/proc/{first.shim.pid}/ns/net")
    ended = await boxes.sh("readlink /proc/self/ns/net; ls /sys/class/net", net=f"pid:{first.shim.pid}")
    assert ended.lines == [theirs, "lo"]
    # The shim itself went back home: it must not keep anybody's network alive.
    second = await boxes.start(boxes.spec("sleep", "100", net=f"pid:{first.shim.pid}"))
    assert os.readlink(f"/proc/{second.shim.shim_identity.pid}/ns/net") != theirs


async def test_the_network_namespace_dies_with_the_program(boxes: Boxes) -> None:
    box = await boxes.start(boxes.spec("sleep", "100"))
    network = os.readlink(f"/proc/{box.shim.pid}/ns/net")
    box.shim.close_netlink()
    box.shim.kill(9)
    await box.shim.wait_exit()
    holders = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            holders += [path.name] if os.readlink(path / "ns/net") == network else []
            holders += [path.name for fd in (path / "fd").iterdir() if os.readlink(fd) == network]
        except OSError:
            continue
    assert holders == []


async def test_the_executable_cannot_be_overwritten(boxes: Boxes) -> None:
    """CVE-2019-5736: without a user namespace, root inside owns the interpreter's file, but only through a read-only mount."""
    box = await boxes.start(boxes.spec("sleep", "100", uid_base=None))
    fd = os.open(f"/proc/{box.shim.shim_identity.pid}/exe", os.O_RDONLY)
    try:
        assert os.fstat(fd).st_ino == os.stat(sys.executable).st_ino
        assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
    finally:
        os.close(fd)


async def test_cgroups_v1_are_joined_and_seen_read_only(boxes: Boxes) -> None:
    hierarchy = Path("/sys/fs/cgroup/pids")
    if not (hierarchy / "cgroup.procs").exists():
        pytest.skip(f"this machine has no {hierarchy}: nothing of cgroup v1")
    base = hierarchy / f"hawse_tiso{os.getpid()}"
    base.mkdir(exist_ok=True)
    (base / "c").mkdir(exist_ok=True)
    try:
        spec = boxes.spec(
            "sh",
            "-c",
            "cat /proc/self/cgroup | grep pids; cat /sys/fs/cgroup/pids/cgroup.procs | head -1;"
            "echo 1 > /sys/fs/cgroup/pids/pids.max || echo ro; touch /sys/fs/cgroup/x || echo ro; sleep 100",
            cgroup_v1=[str(base / "c")],
        )
        box = await boxes.start(spec)
        assert (base / "c/cgroup.procs").read_text().split()[0] == str(box.shim.pid)
        await eventually(lambda: box.said().count("\n") >= 4)
        assert [line.rpartition(":")[2] for line in box.said().splitlines()] == ["/", "1", "ro", "ro"]
        code, out, _ = await box.exec("sh", "-c", "grep pids /proc/self/cgroup")
        assert (code, out.strip().rpartition(":")[2]) == (0, "/")
        box.shim.kill(9)
        await box.finish()
    finally:
        await eventually(lambda: _removed(base))


async def test_born_into_a_v2_cgroup_and_sees_it_read_only(boxes: Boxes) -> None:
    unified = Path("/sys/fs/cgroup/unified")
    if not unified.exists():
        unified = Path("/sys/fs/cgroup")
    base = unified / f"hawse_tiso{os.getpid()}"
    (base / "c").mkdir(parents=True, exist_ok=True)
    try:
        ended = await boxes.sh(
            "grep ^0:: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | head -1;"
            "echo 1 > /sys/fs/cgroup/cgroup.max.descendants || echo ro; touch /sys/fs/cgroup/x || echo ro;"
            "mkdir /sys/fs/cgroup/x || echo ro",
            cgroup_v2=str(base / "c"),
        )
        assert ended.lines == ["0::/", "1", "ro", "ro", "ro"]
    finally:
        await eventually(lambda: _removed(base))


def _removed(base: Path) -> bool:
    try:
        for path in (base / "c", base):
            if path.exists():
                path.rmdir()
    except OSError:
        return False
    return True


def test_clone3_gives_a_pidfd() -> None:
    """In a process of its own: pytest has threads."""
    script = (
        "import os\nfrom hawse.supervisor.linux import syscalls\n"
        "pid, fd = syscalls.clone3(0)\n"
        "if pid == 0: os._exit(7)\n"
        "print(os.waitid(os.P_PIDFD, fd, os.WEXITED).si_status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"
    assert syscalls.CLONE_NEWUSER
