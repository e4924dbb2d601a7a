"""Which devices a container may open or make: v1's devices controller; on v2, which has none, a small BPF program.

devices.rst (v1), cgroup-v2.rst "Device controller", bpf(2); the context is struct bpf_cgroup_dev_ctx of linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.linux import syscalls
from hawse.supervisor.linux.cgroup_hierarchy import write


@dataclass(frozen=True, slots=True)
class Rule:
    """Allowed: `kind` c, b or a (both); None is every number; `access` some of r, w and m (mknod)."""

    kind: str
    major: int | None
    minor: int | None
    access: str

    def __str__(self) -> str:
        numbers = ("*" if number is None else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {':'.join(numbers)} {self.access}"


DEFAULT = (
    Rule("c", None, None, "m"),  # a node that may not be opened harms nobody
    Rule("b", None, None, "m"),
    *(Rule("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),  # null, zero, full, random, urandom
    Rule("c", 5, 0, "rwm"),  # tty
    Rule("c", 5, 2, "rwm"),  # ptmx
    Rule("c", 136, None, "rwm"),  # pts
)
"""What every container may use, as with docker (runc's specconv.AllowedDevices)."""


def parse(text: str) -> Rule:
    """`c 189:* rwm`, docker's --device-cgroup-rule.  Raises ValueError."""
    kind, numbers, access = text.split(" ")
    major, minor = (None if number == "*" else int(number) for number in numbers.split(":"))
    return Rule(kind, major, minor, access)


def rules(config: ContainerConfig) -> tuple[Rule, ...] | None:
    """None for a privileged one, which may use all.  A device that is not there is left to the mounts, which name it."""
    if config.privileged:
        return None
    return (*DEFAULT, *_given(config), *map(parse, config.device_rules))


def _given(config: ContainerConfig) -> Iterator[Rule]:
    for device in config.devices:
        try:
            status = os.stat(device.host_path)
        except OSError:
            continue
        kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
        yield Rule(kind, os.major(status.st_rdev), os.minor(status.st_rdev), device.permissions)


def restrict_v1(path: Path, allowed: Sequence[Rule]) -> None:
    """Raises OSError."""
    write(path / "devices.deny", "a")
    for rule in allowed:
        if rule.kind == "a":  # v1 takes "a" for all devices whatever the numbers
            for kind in "bc":
                write(path / "devices.allow", str(Rule(kind, rule.major, rule.minor, rule.access)))
        else:
            write(path / "devices.allow", str(rule))


def restrict_v2(path: Path, allowed: Sequence[Rule]) -> None:
    """Attach the program; it lives as long as the cgroup.  Raises OSError: EPERM, or EINVAL without CONFIG_CGROUP_BPF."""
    code = program(allowed)
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Apache-2.0")
    load = struct.pack(
        "=IIQQIIQII16sII",
        *(_PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, b"hawse_devices", 0, _CGROUP_DEVICE),
    )
    loaded = _bpf(_PROG_LOAD, load)
    try:
        group = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _bpf(_PROG_ATTACH, struct.pack("=IIIII", group, loaded, _CGROUP_DEVICE, _ALLOW_MULTI, 0))
        finally:
            os.close(group)
    finally:
        os.close(loaded)


def program(allowed: Sequence[Rule]) -> bytes:
    """1 for the first rule that allows the access, else 0.  The verifier needs no loop, so there is none."""
    kind, access, major, minor, scratch = 2, 3, 4, 5, 1  # registers; the context comes in the first
    code = [
        _instruction(_LOAD32, kind, 1, 0),
        _instruction(_MOVE32, access, kind),
        _instruction(_AND32, kind, value=0xFFFF),
        _instruction(_SHIFT_RIGHT32, access, value=16),
        _instruction(_LOAD32, major, 1, 4),
        _instruction(_LOAD32, minor, 1, 8),
    ]
    for rule in allowed:
        wanted = [] if rule.kind == "a" else [(kind, _KINDS[rule.kind])]
        wanted += [(at, value) for at, value in ((major, rule.major), (minor, rule.minor)) if value is not None]
        bits = sum(_ACCESS[letter] for letter in set(rule.access))
        # To the next rule: over the comparisons that are left, the three of the access, and the answer.
        left = len(wanted) + 5
        for at, value in wanted:
            left -= 1
            code.append(_instruction(_JUMP_UNLESS_EQUAL, at, offset=left, value=value))
        code += [
            _instruction(_MOVE32, scratch, access),
            _instruction(_AND32, scratch, value=bits),
            _instruction(_JUMP_UNLESS_SAME, scratch, access, 2),
            *_answer(1),
        ]
    return b"".join([*code, *_answer(0)])


def _answer(value: int) -> tuple[bytes, bytes]:
    return _instruction(_MOVE_VALUE, 0, value=value), _instruction(_EXIT)


def _instruction(operation: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn."""
    return struct.pack("=BBhi", operation, of << 4 | to, offset, value)


def _bpf(command: int, attributes: bytes) -> int:
    number = _NR_BPF.get(platform.machine())
    if number is None:
        raise OSError(38, f"bpf: no system call number for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscalls.syscall("bpf", number, command, ctypes.addressof(buffer), len(attributes))


_NR_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351, "armv7l": 386}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_LOAD32, _MOVE32, _MOVE_VALUE, _AND32, _SHIFT_RIGHT32 = 0x61, 0xBC, 0xB7, 0x54, 0x74
_JUMP_UNLESS_EQUAL, _JUMP_UNLESS_SAME, _EXIT = 0x55, 0x5D, 0x95
