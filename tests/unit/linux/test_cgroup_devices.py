"""Device rules: what is allowed to whom, and the program that says so, run by a small machine of our own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hawse.supervisor.core.model import ContainerConfig, Device
from hawse.supervisor.linux.cgroup_devices import DEFAULT, Rule, parse, program, restrict_v1, rules

MKNOD, READ, WRITE = 1, 2, 4
BLOCK, CHARACTER = 1, 2


def run(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """What the kernel would answer: the instructions of cgroup_devices.program, and no other."""
    context, registers, at = (access << 16 | kind, major, minor), [0] * 11, 0
    instructions = list(struct.iter_unpack("=BBhi", code))
    while True:
        operation, pair, offset, value = instructions[at]
        to, of = pair & 15, pair >> 4
        at += 1
        match operation:
            case 0x61:
                registers[to] = context[offset // 4]
            case 0xBC:
                registers[to] = registers[of]
            case 0xB7:
                registers[to] = value
            case 0x54:
                registers[to] &= value
            case 0x74:
                registers[to] >>= value
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x5D:
                at += offset if registers[to] != registers[of] else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(hex(operation))


@pytest.mark.parametrize(
    ("rule", "asked", "answer"),
    [
        ("c 189:* rw", (CHARACTER, READ | WRITE, 189, 7), 1),
        ("c 189:* rw", (CHARACTER, READ, 189, 0), 1),
        ("c 189:* rw", (CHARACTER, READ | MKNOD, 189, 7), 0),
        ("c 189:* rw", (BLOCK, READ, 189, 7), 0),
        ("c 189:3 r", (CHARACTER, READ, 189, 4), 0),
        ("a *:* rwm", (BLOCK, READ | WRITE | MKNOD, 8, 0), 1),
        ("a 8:1 r", (BLOCK, READ, 8, 1), 1),
        ("b *:0 w", (BLOCK, WRITE, 8, 0), 1),
    ],
)
def test_a_rule(rule: str, asked: tuple[int, int, int, int], answer: int) -> None:
    assert str(parse(rule)) == rule
    assert run(program([parse(rule)]), *asked) == answer
    assert run(program([Rule("c", 1, 3, "m"), parse(rule)]), *asked) == answer, "each rule is tried"


def test_who_may_what(tmp_path: Path) -> None:
    assert rules(ContainerConfig(privileged=True)) is None
    given = Device(host_path="/dev/full", container_path="/dev/x", permissions="r")
    gone = Device(host_path=str(tmp_path / "gone"), container_path="/dev/y")
    config = ContainerConfig(devices=(given, gone), device_rules=("b 8:* rmw",))
    assert rules(config) == (*DEFAULT, Rule("c", 1, 7, "r"), Rule("b", 8, None, "rmw"))


def test_v1_is_told_line_by_line(tmp_path: Path) -> None:
    for name in ("devices.deny", "devices.allow"):
        (tmp_path / name).touch()
    restrict_v1(tmp_path, [parse("a 8:1 r")])
    assert (tmp_path / "devices.deny").read_text() == "a"
    assert (tmp_path / "devices.allow").read_text() == "c 8:1 r"
