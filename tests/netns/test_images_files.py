"""Archives unpacked and containers' changes copied, on a real file system, as root: hostile input included."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import socket
import stat
import struct
import subprocess
import tarfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images import archive, commit_layer, extract
from hawse.supervisor.linux.tree import remove_tree

BASE = 3_000_000
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x8008_6601, 0x4008_6602, 0x10  # linux/fs.h


class Tar:
    """Builds an archive entry by entry; exactly what is asked for, however odd."""

    def __init__(self, **options: object) -> None:
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", **options)  # type: ignore[call-overload]  # noqa: SIM115  closed by done()

    def add(self, name: str, data: bytes = b"", **fields: object) -> Tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def directory(self, name: str, mode: int = 0o755, **fields: object) -> Tar:
        return self.add(name, type=tarfile.DIRTYPE, mode=mode, **fields)

    def symlink(self, name: str, goal: str) -> Tar:
        return self.add(name, type=tarfile.SYMTYPE, linkname=goal)

    def hard(self, name: str, goal: str) -> Tar:
        return self.add(name, type=tarfile.LNKTYPE, linkname=goal)

    def done(self) -> bytes:
        self.tar.close()
        return self.raw.getvalue()


def unpack(data: bytes, into: Path) -> tuple[str, int]:
    with archive.opened(io.BufferedReader(io.BytesIO(data))) as (tar, plain):  # type: ignore[arg-type]
        size = extract.extract(tar, into)
        return plain.finish(), size


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    made = tmp_path / "layer"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path: Path) -> Iterator[None]:
    """Whatever a test unpacks, only the layer changes; and no descriptor stays open."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim").write_text("untouched")
    fds = len(os.listdir("/proc/self/fd"))
    yield
    assert os.listdir(tmp_path / "outside") == ["victim"]
    assert (tmp_path / "outside/victim").read_text() == "untouched"
    assert (tmp_path / "outside/victim").stat().st_mode & 0o7777 == 0o644
    assert len(os.listdir("/proc/self/fd")) == fds


def test_everything_is_kept(layer: Path) -> None:
    tar = Tar(format=tarfile.PAX_FORMAT)
    tar.directory("./", 0o751, mtime=1000)
    tar.directory("etc", 0o700, uid=5, gid=6, mtime=2000.5)
    tar.add("etc/secret", b"data", mode=0o4755, uid=1000, gid=50, mtime=3000.25)
    tar.hard("etc/same", "etc/secret")
    tar.symlink("link", "/etc/secret")
    tar.add("pipe", type=tarfile.FIFOTYPE, mode=0o622)
    tar.add("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    tar.add(
        "ping",
        b"x",
        mode=0o755,
        pax_headers={
            "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.user.note": "kept",
            "SCHILY.xattr.user.overlay.opaque": "y",
            "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        },
    )
    digest, size = unpack(tar.done(), layer)
    assert len(digest) == 64 and size == 5
    assert layer.stat().st_mode & 0o7777 == 0o751 and layer.stat().st_mtime == 1000
    etc, secret = (layer / "etc").stat(), (layer / "etc/secret").stat()
    assert (etc.st_mode & 0o7777, etc.st_uid, etc.st_gid, etc.st_mtime) == (0o700, 5, 6, 2000.5)
    assert (secret.st_mode & 0o7777, secret.st_uid, secret.st_gid, secret.st_mtime) == (0o4755, 1000, 50, 3000.25)
    assert (layer / "etc/same").stat().st_ino == secret.st_ino
    assert os.readlink(layer / "link") == "/etc/secret"
    assert stat.S_ISFIFO((layer / "pipe").stat().st_mode) and (layer / "pipe").stat().st_mode & 0o777 == 0o622
    assert not (layer / "dev/null").exists() and (layer / "dev").is_dir()
    assert os.getxattr(layer / "ping", "security.capability") == capability
    assert sorted(os.listxattr(layer / "ping")) == [
        "security.capability",
        "user.note",
    ]  # file systems differ in the order


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, "zstd"])
def test_compressions(layer: Path, compress: Callable[[bytes], bytes] | str) -> None:
    plain = Tar().add("a", b"x" * 100_000).done()
    if compress == "zstd":
        packed = subprocess.run(["zstd", "-q"], input=plain, capture_output=True, check=True).stdout
    else:
        packed = compress(plain)  # type: ignore[operator]
    digest, _ = unpack(packed, layer)
    assert (layer / "a").stat().st_size == 100_000
    assert digest == hashlib.sha256(plain).hexdigest(), "a layer's id does not depend on how it was compressed"
    for cut in (len(packed) // 2, 600 if len(packed) > 700 else 5):
        again = layer / f"cut{cut}"
        again.mkdir()
        with pytest.raises(UserError, match="Error processing tar file"):
            unpack(packed[:cut], again)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"not a tar at all" * 1000, b"\x1f\x8b broken", b"BZh", b"\x28\xb5\x2f\xfd??"]
)
def test_what_is_no_archive(layer: Path, data: bytes) -> None:
    with pytest.raises(UserError, match="Error processing tar file"):
        unpack(data, layer)


@pytest.mark.parametrize("name", ["../outside/new", "/../outside/new", "a/../../outside/new", "..", "/.."])
def test_names_that_lead_out_are_refused(layer: Path, name: str) -> None:
    with pytest.raises(UserError, match="points outside"):
        unpack(Tar().add(name, b"x").done(), layer)


def test_detours_within_are_not(layer: Path) -> None:
    unpack(Tar().add("/abs", b"1").add("./a/../b", b"2").add("c//d/./e", b"3").done(), layer)
    assert {str(p.relative_to(layer)) for p in layer.rglob("*") if p.is_file()} == {"abs", "b", "c/d/e"}


def test_symlinks_lead_nowhere_but_inside(layer: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    up = "/".join([".."] * 30)
    tar = Tar().symlink("abs", str(outside)).symlink("rel", f"{up}{outside}").symlink("root", "/")
    tar.add("abs/victim", b"evil").add("rel/new", b"evil").add("root/top", b"fine")
    tar.hard("hard", "abs/victim").hard("hard2", f"{str(outside)[1:]}/victim")
    unpack(tar.done(), layer)
    inside = layer / str(outside)[1:]
    assert (inside / "victim").read_bytes() == b"evil" and (inside / "new").read_bytes() == b"evil"
    assert (layer / "top").read_bytes() == b"fine"
    assert (layer / "hard").stat().st_ino == (inside / "victim").stat().st_ino


def test_a_file_is_never_written_through_a_symlink(layer: Path, tmp_path: Path) -> None:
    victim = str(tmp_path / "outside/victim")
    tar = Tar().symlink("a", victim).add("a", b"evil", mode=0o777)
    tar.symlink("b", victim).directory("b", 0o777)
    tar.symlink("c", victim).add("c", type=tarfile.FIFOTYPE)
    tar.symlink("d", victim).hard("d", "a")
    unpack(tar.done(), layer)
    assert (layer / "a").read_bytes() == b"evil" and not (layer / "a").is_symlink()
    assert (layer / "b").is_dir() and not (layer / "b").is_symlink()


def test_merged_usr(layer: Path) -> None:
    """Debian's archives have /bin as a symlink and then entries below it."""
    tar = (
        Tar().directory("usr").directory("usr/bin").symlink("bin", "usr/bin").add("bin/sh", b"#!").add("bin/ls", b"#!")
    )
    unpack(tar.done(), layer)
    assert sorted(os.listdir(layer / "usr/bin")) == ["ls", "sh"] and (layer / "bin").is_symlink()


def test_a_later_entry_replaces_an_earlier_one(layer: Path) -> None:
    tar = Tar().directory("d").add("d/old", b"1").add("d", b"now a file").add("f", b"1").directory("f").add("f/x", b"2")
    tar.directory("e/deep").add("e/deep/x", b"1").symlink("e", "f").add("e/deep/y", b"3")
    tar.directory("keep", 0o700).add("keep/a", b"a").directory("keep", 0o755)
    unpack(tar.done(), layer)
    assert (layer / "d").read_bytes() == b"now a file"
    assert (layer / "f/deep/y").read_bytes() == b"3" and os.listdir(layer / "f/deep") == ["y"]
    assert (layer / "keep/a").exists() and (layer / "keep").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "tar",
    [
        Tar().hard("a", "nowhere"),
        Tar().hard("a", "no/where"),
        Tar().hard("a", "../outside/victim"),
        Tar().symlink("a", ""),
        Tar().symlink("a", "b").symlink("b", "a").add("a/x"),
        Tar().add("n" * 300),
        Tar().add("/".join(["d" * 200] * 30)),
        Tar().directory("d").hard("d2", "d"),
        Tar().add(".wh..."),
        Tar(format=tarfile.GNU_FORMAT).add("a", uid=(1 << 32) - 1),
        Tar().add("f").add("f/below"),
    ],
)
def test_what_makes_no_sense_is_the_archive_s_fault(layer: Path, tar: Tar) -> None:
    with pytest.raises(UserError, match="Error processing tar file"):
        unpack(tar.done(), layer)


def test_odd_times_do_not_matter(layer: Path) -> None:
    tar = Tar(format=tarfile.PAX_FORMAT)
    for number, time in enumerate(("nan", "-5", "inf", "1e300", "99999999999999999999")):
        tar.add(f"f{number}", pax_headers={"mtime": time})
    unpack(tar.done(), layer)
    assert len(os.listdir(layer)) == 5


def test_times_are_kept_to_the_nanosecond(layer: Path) -> None:
    time = "1700000000.123456789"
    tar = Tar(format=tarfile.PAX_FORMAT)
    for name, kind in (("f", tarfile.REGTYPE), ("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE)):
        tar.add(name, type=kind, linkname="f" if kind == tarfile.SYMTYPE else "", pax_headers={"mtime": time})
    unpack(tar.done(), layer)
    assert {(layer / name).lstat().st_mtime_ns for name in "fdl"} == {1_700_000_000_123_456_789}


@pytest.mark.parametrize("form", ["pax", "oldgnu"])
def test_holes_of_an_archive_stay_holes(layer: Path, tmp_path: Path, form: str) -> None:
    """An archive of some KiB may describe any number of GiB."""
    with open(tmp_path / "holes", "wb") as file:
        file.seek(1 << 30)
        file.write(b"in the middle")
        file.truncate(3 << 30)
    made = subprocess.run(["tar", "-C", tmp_path, "--sparse", f"--format={form}", "-c", "holes"], capture_output=True)
    assert len(made.stdout) < 1 << 16
    _, size = unpack(made.stdout, layer)
    file, got = layer / "holes", (layer / "holes").stat()
    assert got.st_size == 3 << 30 and got.st_blocks < 64 and size < 1 << 14
    with open(file, "rb") as opened:
        opened.seek(1 << 30)
        assert opened.read(20) == b"in the middle" + bytes(7)


def test_zeros_take_no_room(layer: Path) -> None:
    data = b"a" + bytes(1 << 20) + b"b"
    unpack(Tar().add("f", data).add("z", bytes(300_000)).done(), layer)
    assert (layer / "f").read_bytes() == data and (layer / "f").stat().st_blocks * 512 < 1 << 20
    assert (layer / "z").read_bytes() == bytes(300_000) and (layer / "z").stat().st_blocks == 0


def test_a_size_that_no_file_has_is_the_archive_s_fault(layer: Path) -> None:
    told = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f"}
    tar = Tar(format=tarfile.PAX_FORMAT).add(
        "GNUSparseFile.0/f", b"0\n".ljust(512, b"\0"), pax_headers={**told, "GNU.sparse.realsize": str(1 << 80)}
    )
    with pytest.raises(UserError, match="Error processing tar file"):
        unpack(tar.done(), layer)


def test_a_whiteout_hides_what_is_below_and_nothing_of_its_own_layer(layer: Path) -> None:
    """Whichever comes first (OCI image-spec, layer.md: whiteouts concern lower layers)."""
    tar = (
        Tar()
        .add(".wh.d")
        .directory("d")
        .add("d/new")
        .directory("e")
        .add("e/new")
        .add(".wh.e")
        .add("f", b"f")
        .add(".wh.f")
    )
    unpack(tar.done(), layer)
    for name in "de":
        assert os.listdir(layer / name) == ["new"]
        assert os.getxattr(layer / name, "trusted.overlay.opaque") == b"y"
    assert (layer / "f").read_bytes() == b"f"


def test_whiteouts_of_image_archives(layer: Path) -> None:
    tar = Tar().directory("d").add("d/.wh.gone").directory("e").add("e/.wh..wh..opq").add(".wh..wh.plnk").add(".wh.top")
    unpack(tar.done(), layer)
    for name in ("d/gone", "top"):
        status = (layer / name).lstat()
        assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    assert os.getxattr(layer / "e", "user.overlay.opaque") == os.getxattr(layer / "e", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(layer)) == ["d", "e", "top"]


# ---- commit


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    made = tmp_path / "upper"
    made.mkdir()
    os.chown(made, BASE, BASE)
    return made


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def test_owners_go_back_to_where_layers_have_them(upper: Path, layer: Path) -> None:
    (upper / "own").write_text("x")
    os.chown(upper / "own", BASE + 1000, BASE + 50)
    (upper / "own").chmod(0o6755)
    (upper / "foreign").write_text("x")
    (upper / "link").symlink_to("/etc/passwd")
    os.chown(upper / "link", BASE + 7, BASE + 8, follow_symlinks=False)
    commit_layer.copy_upper(upper, layer, BASE)
    assert owner(layer) == (0, 0)
    assert owner(layer / "own") == (1000, 50) and (layer / "own").stat().st_mode & 0o7777 == 0o6755
    assert owner(layer / "foreign") == (65534, 65534)
    assert owner(layer / "link") == (7, 8) and os.readlink(layer / "link") == "/etc/passwd"


def test_without_a_user_namespace_owners_stay(upper: Path, layer: Path) -> None:
    (upper / "f").write_text("x")
    os.chown(upper / "f", 1000, BASE)
    commit_layer.copy_upper(upper, layer, None)
    assert owner(layer / "f") == (1000, BASE)


def test_what_commit_keeps(upper: Path, layer: Path) -> None:
    (upper / "dir").mkdir(mode=0o750)
    (upper / "dir/a").write_text("hello")
    os.link(upper / "dir/a", upper / "b")
    os.utime(upper / "dir/a", ns=(1, 1_234_567_890_123_456_789))
    os.mkfifo(upper / "pipe", 0o600)
    os.setxattr(upper / "dir/a", "user.note", b"kept")
    os.setxattr(upper / "dir/a", "trusted.overlay.origin", b"ours")
    os.setxattr(upper / "dir", "user.overlay.impure", b"y")
    os.utime(upper / "dir", ns=(1, 5_000_000_000))
    size = commit_layer.copy_upper(upper, layer, BASE)
    assert size == 5, "a hard link takes no room"
    assert (layer / "b").stat().st_ino == (layer / "dir/a").stat().st_ino
    assert (layer / "dir/a").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (layer / "dir").stat().st_mtime_ns == 5_000_000_000
    assert stat.S_ISFIFO((layer / "pipe").stat().st_mode)
    assert os.listxattr(layer / "dir/a") == ["user.note"] and os.listxattr(layer / "dir") == []


def test_what_commit_leaves_out(upper: Path, layer: Path) -> None:
    (upper / "etc").mkdir()
    for name in ("hosts", "hostname", "resolv.conf", "hosts.allow"):
        (upper / "etc" / name).touch()
    (upper / "etc/hostname").write_text("chosen")
    os.mknod(upper / "device", stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(upper / "socket"))
    commit_layer.copy_upper(upper, layer, BASE)
    assert sorted(os.listdir(layer / "etc")) == ["hostname", "hosts.allow"]
    assert os.listdir(layer) == ["etc"]


@pytest.mark.parametrize("prefix", ["user", "trusted"])
def test_whiteouts_and_opaque_directories(upper: Path, layer: Path, prefix: str) -> None:
    os.mknod(upper / "gone", stat.S_IFCHR, 0)
    (upper / "fresh").mkdir()
    os.setxattr(upper / "fresh", f"{prefix}.overlay.opaque", b"y")
    commit_layer.copy_upper(upper, layer, BASE)
    status = (layer / "gone").lstat()
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        assert os.getxattr(layer / "fresh", name) == b"y"


def test_holes_stay_holes(upper: Path, layer: Path) -> None:
    with open(upper / "sparse", "wb") as file:
        file.write(b"head")
        file.seek(50 << 20)
        file.write(b"middle")
        file.truncate(100 << 20)
    (upper / "empty hole").touch()
    os.truncate(upper / "empty hole", 1 << 20)
    commit_layer.copy_upper(upper, layer, BASE)
    copied = (layer / "sparse").stat()
    assert copied.st_size == 100 << 20 and copied.st_blocks * 512 < 1 << 20
    with open(layer / "sparse", "rb") as file:
        assert file.read(4) == b"head"
        file.seek(50 << 20)
        assert file.read(7) == b"middle\0"
    assert (layer / "empty hole").stat().st_size == 1 << 20


def test_file_capabilities_are_for_the_root_of_whoever_mounts_the_layer(upper: Path, layer: Path) -> None:
    (upper / "ping").write_text("x")
    namespaced = struct.pack("<IIIIII", 0x03000001, 1 << 13, 0, 0, 0, BASE)
    os.setxattr(upper / "ping", "security.capability", namespaced)
    commit_layer.copy_upper(upper, layer, BASE)
    assert os.getxattr(layer / "ping", "security.capability") == struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def test_access_lists(upper: Path, layer: Path) -> None:
    entries = [
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, BASE + 33),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]

    def acl(rows: list[tuple[int, int, int]]) -> bytes:
        return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)

    (upper / "f").write_text("x")
    os.setxattr(upper / "f", "system.posix_acl_access", acl(entries))
    commit_layer.copy_upper(upper, layer, BASE)
    expected = [(tag, perm, 33 if tag == 0x02 else number) for tag, perm, number in entries]
    assert os.getxattr(layer / "f", "system.posix_acl_access") == acl(expected)


def test_no_upper_is_no_change(tmp_path: Path, layer: Path) -> None:
    assert commit_layer.copy_upper(tmp_path / "never", layer, BASE) == 0
    assert os.listdir(layer) == []


@pytest.mark.parametrize("name", ["redirect", "metacopy"])
def test_what_only_its_own_overlay_understands_is_refused(upper: Path, layer: Path, name: str) -> None:
    (upper / "x").mkdir() if name == "redirect" else (upper / "x").touch()
    os.setxattr(upper / "x", f"trusted.overlay.{name}", b"")
    with pytest.raises(UserError, match="cannot commit: /x"):
        commit_layer.copy_upper(upper, layer, None)


def test_a_layer_works_in_both_kinds_of_overlay(upper: Path, layer: Path, tmp_path: Path) -> None:
    """Seen through a real overlay on top of a base: with trusted.* attributes, and with user.* in a user namespace."""
    base = tmp_path / "base"
    for name in ("deleted", "replaced/old"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("x")
    os.mknod(upper / "deleted", stat.S_IFCHR, 0)
    (upper / "replaced").mkdir()
    (upper / "replaced/new").write_text("x")
    os.setxattr(upper / "replaced", "user.overlay.opaque", b"y")
    commit_layer.copy_upper(upper, layer, BASE)
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith("pytest-"):
            path.chmod(0o755)
    script = (
        f"mkdir -p /tmp/m && mount -t tmpfs m /tmp/m && mkdir /tmp/m/o && mount -t overlay o -o lowerdir={layer}:{base}"
    )
    for options, unshare in (("", ["--mount"]), (",userxattr", ["--mount", "--user", "--map-root-user"])):
        seen = subprocess.run(
            ["unshare", *unshare, "sh", "-ec", f"{script}{options} /tmp/m/o; cd /tmp/m/o; find . | sort"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert seen.stdout.split() == [".", "./replaced", "./replaced/new"]


# ---- removal


def test_trees_of_any_depth_and_permission_are_removed(tmp_path: Path) -> None:
    victim = tmp_path / "tree"
    victim.mkdir()
    (victim / "out").symlink_to(tmp_path / "outside")
    (victim / ".hawse-0").mkdir()
    (victim / "shut").mkdir(mode=0)
    (victim / "shut/in").mkdir(mode=0o400, parents=True)
    here = os.open(victim, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.mknod("f", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(victim)
    assert not victim.exists()
    remove_tree(victim)


def test_a_symlink_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "outside")
    remove_tree(link)
    assert not link.is_symlink()


def set_immutable(path: Path, wanted: bool) -> None:
    """As chattr(1) does, which a small machine has not (ioctl_iflags(2))."""
    flags = array("i", [0])
    with path.open("rb") as file:
        fcntl.ioctl(file, FS_IOC_GETFLAGS, flags)
        flags[0] = flags[0] | FS_IMMUTABLE_FL if wanted else flags[0] & ~FS_IMMUTABLE_FL
        fcntl.ioctl(file, FS_IOC_SETFLAGS, flags)


def test_what_cannot_be_removed_is_told_and_the_rest_is_gone(tmp_path: Path) -> None:
    victim = tmp_path / "tree"
    (victim / "a/b").mkdir(parents=True)
    (victim / "a/stays").touch()
    (victim / "a/goes").touch()
    set_immutable(victim / "a/stays", True)
    try:
        with pytest.raises(PermissionError):
            remove_tree(victim)
        assert [p.name for p in victim.rglob("*") if p.is_file()] == ["stays"]
    finally:
        (left,) = victim.rglob("stays")
        set_immutable(left, False)
    remove_tree(victim)
