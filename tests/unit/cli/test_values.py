"""The small languages in flags' values: sizes, durations, ports, mounts, ulimits, detach keys, times."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.cli.errors import Failure
from hawse.cli.flags import limits, mounts, ports
from hawse.cli.show import times, units
from hawse.cli.wire import detach


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("100", 100), ("1k", 1024), ("1.5G", 3 << 29), ("64MiB", 64 << 20), ("100 m", 100 << 20), ("7b", 7)],
)
def test_sizes(text: str, count: int) -> None:
    assert units.parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "x", "-5m", "1.2.3", "m", "1mm", "1e3", "١"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        units.parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("1", 10**9), ("0.5", 5 * 10**8), (".25", 25 * 10**7), ("1.000000001", 10**9 + 1), ("-2", -2 * 10**9)],
)
def test_cpus(text: str, nano: int) -> None:
    assert units.parse_nano_cpus(text) == nano


@pytest.mark.parametrize("text", ["", "x", "1,5", "0.0000000001"])
def test_what_is_no_number_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match=r"rational|precise"):
        units.parse_nano_cpus(text)


@pytest.mark.parametrize(("text", "ns"), [("0", 0), ("1h30m", 5400 * 10**9), ("1.5s", 15 * 10**8), ("-1ms", -(10**6))])
def test_durations(text: str, ns: int) -> None:
    assert units.parse_duration(text) == ns


def test_sizes_are_shown_with_the_digits_that_docker_shows() -> None:
    assert units.size(0) == "0B"
    assert units.size(1_234_567, precision=3) == "1.23MB"
    assert units.size(1536, binary=True) == "1.5KiB"
    assert units.size(999_999, precision=3) == "1e+03kB"  # as go-units has it


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86_400 * 3, "3 days"),
        (86_400 * 20, "2 weeks"),
        (86_400 * 100, "3 months"),
        (86_400 * 800, "2 years"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_published_ports() -> None:
    assert ports.published(["8080:80", "127.0.0.1:53:53/udp", "443", "10.0.0.1::90"]) == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
        "443/tcp": [{"HostIp": "", "HostPort": ""}],
        "90/tcp": [{"HostIp": "10.0.0.1", "HostPort": ""}],
    }


def test_published_ranges() -> None:
    assert ports.published(["8000-8001:80-81"]) == {
        "80/tcp": [{"HostIp": "", "HostPort": "8000"}],
        "81/tcp": [{"HostIp": "", "HostPort": "8001"}],
    }
    assert ports.published(["8000-8009:80"]) == {"80/tcp": [{"HostIp": "", "HostPort": "8000-8009"}]}


def test_one_container_port_in_two_places() -> None:
    assert len(ports.published(["1:80", "2:80"])["80/tcp"]) == 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("x:y:z", "invalid IP address: x"),
        ("300.0.0.1:80:80", "invalid IP address: 300.0.0.1"),
        ("99999:80", "invalid hostPort: 99999"),
        ("80:99999", "invalid containerPort: 99999"),
        ("nonsense", "invalid containerPort: nonsense"),
        ("80:", "no port specified"),
        ("80:80/pigeon", "invalid proto: pigeon"),
        ("80-90:80-81", "invalid ranges specified for container and host Ports: 80-81 and 80-90"),
        ("90-80:90-80", "invalid containerPort: 90-80"),
        ("", "no port specified"),
    ],
)
def test_wrong_ports_in_dockers_words(spec: str, said: str) -> None:
    with pytest.raises(Failure, match=said):
        ports.published([spec])


PORT = st.integers(0, 65_535)


@given(PORT, PORT, st.sampled_from(["tcp", "udp", "sctp"]), st.ip_addresses(v=4))
def test_a_written_port_reads_back(host: int, inside: int, proto: str, address: object) -> None:
    assert ports.published([f"{address}:{host}:{inside}/{proto}"]) == {
        f"{inside}/{proto}": [{"HostIp": str(address), "HostPort": str(host)}]
    }


@given(st.text(max_size=30))
def test_any_text_is_a_port_or_a_failure(text: str) -> None:
    try:
        bindings = ports.published([text])
    except Failure:
        return
    for key, places in bindings.items():
        assert 0 <= int(key.partition("/")[0]) <= 65_535 and places


def test_exposed_ports() -> None:
    assert ports.exposed(["80", "90-91/udp"]) == ["80/tcp", "90/udp", "91/udp"]
    with pytest.raises(Failure):
        ports.exposed(["1:2"])


def test_volumes() -> None:
    binds, anonymous = mounts.split_volumes(["/a:/b:ro", "named:/c", "./x:/d", "/e"])
    assert binds == ["/a:/b:ro", "named:/c", f"{os.getcwd()}/x:/d"]
    assert anonymous == ["/e"]
    with pytest.raises(Failure, match="too many colons"):
        mounts.split_volumes(["/a:/b:ro:x"])
    with pytest.raises(Failure, match="empty section"):
        mounts.split_volumes(["/a:"])


def test_mounts() -> None:
    assert mounts.parse_mount("type=bind,src=/a,dst=/b,readonly") == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
    }
    assert mounts.parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777")["TmpfsOptions"] == {
        "SizeBytes": 1 << 20,
        "Mode": 0o1777,
    }
    assert mounts.parse_mount("source=v,target=/v")["Type"] == "volume"
    assert mounts.parse_mount("target=/v,readonly=false")["ReadOnly"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "invalid field 'a' must be a key=value pair"),
        ("type=bind,target=/b", "source is required"),
        ("type=volume", "target is required"),
        ("type=cloud,target=/b", "unknown mount type"),
        ("target=/b,colour=red", "unexpected key 'colour'"),
        ("type=bind,src=/a,target=/b,tmpfs-size=1m", "cannot mix"),
        ("target=/b,readonly=maybe", "invalid value for readonly"),
    ],
)
def test_wrong_mounts(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mounts.parse_mount(text)


def test_ulimits_devices_and_restart_policies() -> None:
    assert limits.parse_ulimit("nofile=10:20") == {"Name": "nofile", "Soft": 10, "Hard": 20}
    assert limits.parse_ulimit("core=-1")["Hard"] == -1
    assert limits.parse_device("/dev/a:/dev/b:r") == {
        "PathOnHost": "/dev/a",
        "PathInContainer": "/dev/b",
        "CgroupPermissions": "r",
    }
    assert limits.parse_device("/dev/a:rw")["PathInContainer"] == "/dev/a"
    assert limits.parse_restart("on-failure:3") == {"Name": "on-failure", "MaximumRetryCount": 3}
    for parse, text in (
        (limits.parse_ulimit, "nofile"),
        (limits.parse_ulimit, "nofile=20:10"),
        (limits.parse_device, "/dev/a:/dev/b:z"),
        (limits.parse_restart, "on-failure:x"),
    ):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


def test_detach_keys() -> None:
    assert detach.parse("") == b"\x10\x11"
    assert detach.parse("ctrl-a,x,ctrl-[") == b"\x01x\x1b"
    for wrong in ("ctrl-", "ctrl-1", "ab", "ctrl-p,,x"):
        with pytest.raises(Failure):
            detach.parse(wrong)


def fed(keys: bytes, *pieces: bytes) -> tuple[bytes, bool]:
    watcher = detach.DetachKeys(keys)
    passed = b""
    for piece in pieces:
        data, done = watcher.feed(piece)
        passed += data
        if done:
            return passed, True
    return passed, False


def test_detach_keys_are_found_across_pieces_and_not_passed_on() -> None:
    assert fed(b"\x10\x11", b"ab\x10", b"\x11cd") == (b"ab", True)
    assert fed(b"\x10\x11", b"a\x10b\x11") == (b"a\x10b\x11", False)
    assert fed(b"\x10\x11", b"\x10\x10\x11") == (b"\x10", True)
    assert fed(b"x", b"abx") == (b"ab", True)


@given(st.lists(st.binary(max_size=8)))
def test_nothing_typed_is_lost_or_changed(pieces: list[bytes]) -> None:
    typed = b"".join(pieces).replace(b"\x10", b"")
    assert fed(b"\x10\x11", *(p.replace(b"\x10", b"") for p in pieces)) == (typed, False)


def test_times() -> None:
    assert times.moment("") is None
    assert times.moment("1700000000.5") == "1700000000.5"
    assert times.moment("2023-11-14T22:13:20Z") == "1700000000.000000000"
    assert times.moment("2023-11-14T22:13:20.123456789+00:00") == "1700000000.123456789"
    before, found = time.time(), float(times.moment("10m") or 0)
    assert before - 601 <= found <= time.time() - 600
    with pytest.raises(Failure, match="yesterday"):
        times.moment("yesterday")


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_shown_time_reads_back(ns: int) -> None:
    assert times.nanoseconds(times.rfc3339(ns)) == ns
