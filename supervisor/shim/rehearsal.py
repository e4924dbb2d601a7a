"""The spawner's dress rehearsal: everything that each shim and midwife will do, done before the first is forked.

Python adapts running code to what it sees, numbers types and fills caches, and each such write copies a page that a shim
would otherwise share with all others.  After a dozen rounds all that has happened once, for all: a shim then takes some
500 KiB less, and starts sooner.  Real objects and descriptors, but no namespace and nothing that stays.  Stdlib only.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from hawse.supervisor.shim import protocol, specs, waiting
from hawse.supervisor.shim.attached import Wishes
from hawse.supervisor.shim.midwife import charge
from hawse.supervisor.shim.plan import plan
from hawse.supervisor.shim.shim import Shim
from hawse.supervisor.shim.specs import MountSpec, ProcessSpec, RootfsSpec, ShimSpec

ROUNDS = 16

# Objects/obmalloc.c, of 3.10 and later.  With another allocator the filling is of no use, and ends all the same.
SMALL_OBJECT = 512
ALIGNMENT = 16
POOL = 16 * 1024
POOL_HEADER = 48
MOST_POOLS = 8
FLOATS = 2 * POOL // 32

SPEC = ShimSpec(
    id="",
    hostname="",
    domainname="",
    state_dir="/",
    run_dir="/",
    socket="/",
    log_path="/dev/null",
    log_max_size=0,
    log_max_files=1,
    journal_fields=None,
    rootfs=RootfsSpec(lower=["/"], upper="/", work="/", target="/"),
    process=ProcessSpec(argv=["true"], env=["PATH=/bin"], caps=["CAP_CHOWN"]),
    mounts=[
        MountSpec(type="bind", target="/etc/hosts", source="/"),
        MountSpec(type="tmpfs", target="/tmp", data="size=1m"),
    ],
    uid_base=0,
    uid_count=1,
    net="new",
    cgroup_v2="",
    cgroup_v1=["/sys/fs/cgroup/memory/none"],
    masked=["/proc/keys"],
    read_only=["/proc/sys"],
)


def rehearse(scratch: str) -> None:
    """`scratch` is the daemon's to sweep: a spawner that is killed here leaves a socket in it."""
    _rehearse(scratch)
    gc.collect()
    _fill_holes()


def _rehearse(scratch: str) -> None:
    directory = f"{scratch}/{os.getpid()}"
    try:
        os.mkdir(directory, 0o700)
    except OSError:
        return  # no place for a socket: every shim costs a little more
    try:
        for _ in range(ROUNDS):
            _rehearse_waiting()
            _rehearse_midwife()
            _rehearse_shim(directory)
    finally:
        os.rmdir(directory)


_ballast: list[object] = []


def _fill_holes() -> None:
    """Imports leave holes all over the heap.  New objects of a shim shall lie together on new pages, not one in each hole.

    pymalloc keeps blocks of one size, in steps of 16 bytes, in pools of 16 KiB, whose header it writes for each block.
    Where all pools of a size are full the next block comes from a new one, and lies on the page of its header.
    """
    overhead = sys.getsizeof(b"")
    for size in range(SMALL_OBJECT, overhead - 1, -ALIGNMENT):
        _fill_pools(size, partial(bytes, size - overhead))
    # a byte string is never as small as these; floats made one by one would share their pools with the counting
    _ballast.extend(struct.unpack(f"{FLOATS}d", bytes(8 * FLOATS)))
    _fill_pools(ALIGNMENT, object)


def _fill_pools(size: int, make: Callable[[], object]) -> None:
    """Fill until one pool is full of nothing else: before that was begun, all others had become full."""
    blocks, taken = (POOL - POOL_HEADER) // size, dict[int, int]()
    for _ in range(MOST_POOLS * blocks):
        filler = make()
        _ballast.append(filler)
        pool = id(filler) // POOL
        taken[pool] = taken.get(pool, 0) + 1
        if taken[pool] == blocks:
            return


def _rehearse_waiting() -> None:
    daemon, jobs = protocol.socketpair()
    control, other = protocol.socketpair()
    read, write = os.pipe()
    protocol.send(daemon, {"op": "spawn", "id": "0", "spec_path": "/", "rid": 1}, (control.fileno(),))
    _, received = waiting.wait_for_job(jobs, write)
    for fd in (read, write):
        os.close(fd)
    for sock in (daemon, jobs, control, other, received):
        sock.close()


def _rehearse_midwife() -> None:
    spec = specs.load_spec(specs.dump_spec(SPEC))
    asdict(charge(spec, "/"))
    plan(spec)


def _rehearse_shim(directory: str) -> None:
    """A start as the shim lives it: the midwife's and init's messages, the daemon's, a line of output, a client."""
    midwife_pid = os.fork()
    if midwife_pid == 0:
        os._exit(0)
    link, midwife = protocol.socketpair()
    channel, init = protocol.socketpair()
    control, daemon = protocol.socketpair()
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    client, client_end = protocol.socketpair()
    own = os.pidfd_open(os.getpid())
    shim = Shim(link, channel, midwife_pid)
    shim.begin(b"{}", control)
    protocol.send(midwife, {"ev": "charge", **asdict(charge(SPEC, "/")), "socket": f"{directory}/socket"})
    protocol.send(midwife, {"ev": "born", "pid": os.getpid()}, (own,))
    protocol.send(midwife, {"ev": "delivered", "sources": 1})
    midwife.close()
    _settle(shim)
    protocol.send(init, {"ev": "netlink"}, (own,))
    protocol.send(init, {"ev": "ready", "cgroup": 1, "mounts": 1}, (out, err))
    _settle(shim)
    protocol.send(daemon, {"op": "go", "rid": 1})
    _settle(shim)
    protocol.send(init, {"ev": "executing"})
    init.close()
    _settle(shim)
    wishes = Wishes(stdin=True, stdout=True, stderr=True, framed=True)
    pump = shim.pump
    assert pump is not None
    pump.attach(os.dup(client.fileno()), wishes, b"", logs=False)
    os.write(out_end, b"a line\n")
    os.write(err_end, b"no line")
    _settle(shim)
    for fd in (out_end, err_end, out, err, own):
        os.close(fd)
    _settle(shim)
    pump.finish()
    shim.close()
    for sock in (link, channel, control, daemon, client, client_end):
        sock.close()


def _settle(shim: Shim) -> None:
    """Let it find everything that was sent; more turns than that ever takes."""
    for _ in range(6):
        shim.loop.turn(wait=False)
