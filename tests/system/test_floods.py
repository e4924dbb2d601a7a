"""A container that floods what the daemon reads: the API goes on answering, and neighbours are served.

Without the bounds that are tested here an answer took as long as the flood: reading what a container feeds, the event
loop had no turn for anybody else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import dns.message
import pytest

from hawse.cli.selftest.lab import Lab
from tests.lab.internet import internet_names

pytestmark = pytest.mark.slow("what an answer may take is measured against a flood: both would be the emulator's")

FLOOD = 60.0  # seconds, at most: it is ended when the test has seen enough
QUESTIONS = 50
WORST = 1.0  # seconds that an answer may take meanwhile, on a busy machine; it takes milliseconds
QUESTION = dns.message.make_query("neighbour", "A").to_wire()

DATAGRAMS = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((gateway, 53))
while time.monotonic() < end:
    for _ in range(100):
        try:
            sock.send({QUESTION!r})
        except OSError:
            pass
"""
SPOOFED = f"""
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)  # CAP_NET_RAW, which every container has
target, question, packets = socket.inet_aton(gateway), {QUESTION!r}, []
for number in range(50_000):
    source = target[:2] + struct.pack("!H", number)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(question), 0, 0, 64, 17, 0, source, target)
    packets.append(head + struct.pack("!HHHH", 4000, 53, 8 + len(question), 0) + question)
while time.monotonic() < end:
    for packet in packets:
        try:
            raw.sendto(packet, (gateway, 0))
        except OSError:
            pass
"""
CONNECTIONS = """
while time.monotonic() < end:
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((gateway, 53))
    select.select([], [sock], [], 0.05)
    sock.close()
"""
STREAMS = f"""
question = {QUESTION!r}
many = (len(question).to_bytes(2, "big") + question) * 1000
def read(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except OSError:
        pass
def ask():
    while time.monotonic() < end:
        try:
            with socket.create_connection((gateway, 53)) as sock:
                threading.Thread(target=read, args=(sock,), daemon=True).start()
                while time.monotonic() < end:
                    sock.sendall(many)
        except OSError:
            pass
for _ in range(8):
    threading.Thread(target=ask, daemon=True).start()
time.sleep(end - time.monotonic())
"""
ASK = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((gateway, 53))
sock.settimeout(2)
answered = 0
for _ in range({QUESTIONS}):
    sock.send({QUESTION!r})
    try:
        answered += sock.recv(4096)[3] & 15 == 0
    except OSError:
        pass
    time.sleep(0.005)
print(answered)
"""


@pytest.fixture
def crowd(lab: Lab) -> Iterator[Lab]:
    """A network with the one that floods, and a neighbour."""
    lab.hawse("network", "create", "crowd")
    for name in ("flooder", "neighbour"):
        lab.hawse("run", "-d", "--name", name, "--network", "crowd", "busybox", "sleep", "1000")
    yield lab
    lab.hawse("rm", "-f", "flooder", "neighbour")
    lab.hawse("network", "rm", "crowd")


def inside(lab: Lab, container: str, program: str) -> list[str]:
    """The command that runs a Python program in a container's network namespace; it knows the gateway, and its end."""
    gateway = lab.hawse("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "crowd").out.strip()
    head = f"import select, socket, struct, threading, time\ngateway, end = {gateway!r}, time.monotonic() + {FLOOD}\n"
    pid = lab.inspect(container)["State"]["Pid"]
    return ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", head + program]


@contextmanager
def running(lab: Lab, container: str, program: str) -> Iterator[IO[bytes]]:
    """`inside`, until the block is left; yields what it prints."""
    process = lab.popen(inside(lab, container, program), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()


@contextmanager
def flood(lab: Lab, program: str) -> Iterator[float]:
    """From the flooder; yields a moment before its end, if nothing ends it sooner."""
    with running(lab, "flooder", f"print('begun', flush=True)\n{program}") as said:
        assert said.readline() == b"begun\n"
        yield time.monotonic() + FLOOD - 0.5


def pings(lab: Lab, seconds: float) -> list[float]:
    """How long the answers took, one after the other for so long."""
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        assert lab.daemon.request("GET", "/_ping")[0] == 200
        took.append(time.monotonic() - begun)
        time.sleep(0.02)
    return took


def lookup(lab: Lab, name: str) -> list[str]:
    shown = lab.hawse("exec", "neighbour", "nslookup", "-type=a", name, check=False).out
    return re.findall(r"^Address: ([0-9.]+)$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "program", [DATAGRAMS, SPOOFED, CONNECTIONS, STREAMS], ids=["datagrams", "spoofed", "connections", "streams"]
)
def test_a_flood_at_the_name_server_holds_up_neither_the_api_nor_a_neighbour(crowd: Lab, program: str) -> None:
    with flood(crowd, program) as end:
        took = pings(crowd, 2)
        answered = int(crowd.run(inside(crowd, "neighbour", ASK)).out)
        crowd.hawse("run", "--rm", "busybox", "true")  # waits for events
        assert time.monotonic() < end, "the flood was over"
    assert max(took) < WORST and len(took) > 5, took
    assert answered > 0.8 * QUESTIONS, "a neighbour's questions are lost"


def test_questions_that_nobody_answers_are_the_askers_own_trouble(crowd: Lab) -> None:
    """As many as a network may have pending, from one container: its neighbour is answered all the same."""
    nobody = ("--dns", "198.51.100.99")
    crowd.hawse("run", "-d", "--name", "asker", "--network", "crowd", *nobody, "busybox", "sleep", "1000")
    ask_and_count = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((gateway, 53))
question = {dns.message.make_query("www.example.org", "A").to_wire()!r}
for _ in range(10):
    for _ in range(100):
        sock.send(question)
    time.sleep(0.1)
sock.settimeout(0.5)
refused = 0
try:
    while sock.recv(4096)[3] & 15 == 2:  # SERVFAIL
        refused += 1
except OSError:
    pass
print(refused, flush=True)
time.sleep(end - time.monotonic())
"""
    with internet_names(crowd), running(crowd, "asker", ask_and_count) as said:
        refused = int(said.readline())
        assert lookup(crowd, "www.example.org") == ["203.0.113.7"]
    assert refused > 100, "the quota was not reached"
    crowd.hawse("rm", "-f", "asker")


def test_connections_that_are_kept_are_the_keepers_own_trouble(crowd: Lab) -> None:
    keep = """
kept = []
for _ in range(150):
    try:
        kept.append(socket.create_connection((gateway, 53), 0.5))
    except OSError:
        pass
print(len(kept), flush=True)
time.sleep(end - time.monotonic())
"""
    ask = f"""
sock = socket.create_connection((gateway, 53), 30)
question = {QUESTION!r}
sock.sendall(len(question).to_bytes(2, "big") + question)
print(sock.makefile("rb").read(14)[5] & 15)
"""
    with running(crowd, "flooder", keep) as said:
        assert int(said.readline()) > 100
        assert crowd.run(inside(crowd, "neighbour", ask)).out == "0\n"


def test_who_waits_for_each_answer_may_ask_as_fast_as_it_can(crowd: Lab) -> None:
    """A resolver asks again after five seconds: one answer that is dropped costs a build that long."""
    ask = f"""
lost = asked = 0
def one():
    global lost, asked
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((gateway, 53))
    sock.settimeout(5)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        sock.send({QUESTION!r})
        asked += 1
        try:
            sock.recv(4096)
        except OSError:
            lost += 1
threads = [threading.Thread(target=one) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(asked, lost)
"""
    asked, lost = map(int, crowd.run(inside(crowd, "neighbour", ask)).out.split())
    assert (lost, asked > 300) == (0, True), (asked, lost)


def test_a_burst_of_questions_is_answered(crowd: Lab) -> None:
    """Four hundred resolvers at once, which ask for both families each."""
    ask = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
sock.connect((gateway, 53))
for _ in range(800):
    sock.send({QUESTION!r})
sock.settimeout(5)
answered = 0
try:
    while answered < 800:
        sock.recv(4096)
        answered += 1
except OSError:
    pass
print(answered)
"""
    assert int(crowd.run(inside(crowd, "neighbour", ask)).out) == 800
