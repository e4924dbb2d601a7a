"""What a hostile archive may make the daemon hold in memory, entry by entry."""

from __future__ import annotations

import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hawse.cli.files.unpacking import unpack
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images import archive
from hawse.supervisor.linux import rootcopy
from hawse.supervisor.linux.rootcopy import Root

MIB = 1 << 20


class Repeated(io.RawIOBase):
    """`head`, then `unit` over and over until `length` bytes are told."""

    def __init__(self, head: bytes, unit: bytes, length: int) -> None:
        self._head, self._unit, self._left = head, unit * (MIB // len(unit)), length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        data = (self._head or self._unit)[: min(len(buffer), self._left)]
        if self._head:
            self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@contextmanager
def little_memory(most: int = 24 * MIB) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def read(source: io.RawIOBase) -> int:
    """How many entries it has."""
    count = 0
    with archive.opened(io.BufferedReader(source)) as (tar, _):
        for _member in tar:
            count += 1
    return count


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_many_megabytes_is_not_read(kind: bytes) -> None:
    """PAX and GNU headers are read whole: one of 600 MB took gigabytes."""
    source = Repeated(header(kind, 64 * MIB), b"a", 65 * MIB)
    with little_memory(), pytest.raises(UserError, match="described by more than 1024 KiB"):
        read(source)


def test_neither_is_a_map_of_holes_without_end() -> None:
    sparse = bytearray(header(b"S", 512))
    sparse[482] = 1  # the map goes on in the next block (tar(5), old GNU sparse)
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    block = (b"%011o\0" % 0) * 42
    with little_memory(), pytest.raises(UserError, match="described by more than"):
        read(Repeated(bytes(sparse), block + b"\1" * 8, 8 * MIB))


def test_nor_a_name_for_a_name_for_a_name() -> None:
    with little_memory(), pytest.raises(UserError, match="Error processing tar file"):
        read(Repeated(b"", header(tarfile.GNUTYPE_LONGNAME, 0), 16 * MIB))


def test_headers_for_all_entries_do_not_pile_up() -> None:
    def record(number: int) -> bytes:
        text = b" key%d=%s\n" % (number, b"v" * 500_000)
        return b"%d" % (len(text) + 6) + text

    pieces = []
    for number in range(40):
        data = record(number)
        pieces.append(header(tarfile.XGLTYPE, len(data)) + data + bytes(-len(data) % 512) + header(tarfile.REGTYPE, 0))
    with pytest.raises(UserError, match="described by more than"):
        read(Repeated(b"".join(pieces), b"\0", 41 * MIB))


def test_entries_gone_through_are_not_kept() -> None:
    with little_memory(8 * MIB):
        assert read(Repeated(b"", header(tarfile.REGTYPE, 0), 20 * MIB)) == 20 * MIB // 512


def test_what_an_honest_archive_says_at_length_is_read() -> None:
    """A name as long as can be, and an attribute of 64 KiB, the kernel's most."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("/".join(["d" * 250] * 16))
        info.size, info.pax_headers = 5, {"SCHILY.xattr.user.big": "v" * 65_536}
        tar.addfile(info, io.BytesIO(b"hello"))
        tar.addfile(tarfile.TarInfo("after"))
    out.seek(0)
    with archive.opened(io.BufferedReader(out)) as (tar, _):  # type: ignore[arg-type]
        seen = [(m.name, len(m.pax_headers.get("SCHILY.xattr.user.big", "")), _content(tar, m)) for m in tar]
    assert seen == [("/".join(["d" * 250] * 16), 65_536, b"hello"), ("after", 0, b"")]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


class Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        return len(data)


def test_files_that_were_packed_are_not_kept_either(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / str(number)).touch()
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with little_memory(3 * MIB):
            rootcopy.pack(Root(fd=root, uid_base=None), "/", io.BufferedWriter(Nowhere()))
    finally:
        os.close(root)


def test_nor_those_that_the_command_line_unpacked(tmp_path: Path) -> None:
    pieces = [header(tarfile.REGTYPE, 0, f"top/{number}") for number in range(5000)] + [bytes(1024)]
    top = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with little_memory(MIB):
            unpack(pieces, top, None, rooted=True, keep_owner=False)
    finally:
        os.close(top)


def xz(dictionary: int, data: bytes) -> bytes:
    """A stream that asks for so big a dictionary, whatever it needs (the .xz file format, 3.1 and 5.3.1)."""
    made = bytearray(lzma.compress(data, lzma.FORMAT_XZ))
    size = (made[12] + 1) * 4
    assert made[14:16] == b"\x21\x01", "the filter is LZMA2, with one byte of properties"
    made[16] = dictionary
    made[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(bytes(made[12 : 12 + size - 4])))
    return bytes(made)


def test_an_xz_archive_does_not_choose_how_much_memory_it_gets() -> None:
    plain = header(tarfile.REGTYPE, 0) + bytes(1024)
    assert read(Repeated(xz(26, plain), b"\0", len(xz(26, plain)))) == 1  # 32 MiB
    with pytest.raises(UserError, match="more than 128 MiB"):
        read(Repeated(xz(37, plain), b"\0", len(xz(37, plain))))  # 1.5 GiB


def test_an_xz_archive_may_be_several_with_padding_between() -> None:
    parts = [header(tarfile.REGTYPE, 0), header(tarfile.REGTYPE, 0, "y") + bytes(1024)]
    whole = lzma.compress(parts[0]) + bytes(8) + lzma.compress(parts[1]) + bytes(4)
    assert read(Repeated(whole, b"\0", len(whole))) == 2
    with pytest.raises(UserError, match="Error processing tar file"):
        read(Repeated(whole[:140], b"\0", 140))


def test_a_file_that_comes_byte_by_byte_is_packed_all_the_same() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 1))

    assert rootcopy._Padded(Slow(b"a" * 5000), 6000).read(6000) == b"a" * 5000 + bytes(1000)
