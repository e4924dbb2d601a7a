"""The daemon's composition root: the only place that knows every concrete part, and that nobody imports.

    python -m hawse.supervisor [--root DIR] [--run-dir DIR] [--instance NAME] [--config FILE] [--host unix:///PATH]

Crash-only: nothing that start-up recovery relies on happens on the way down.  SIGTERM lets requests finish and leaves the
containers running; --stop-all stops them first.
"""

from __future__ import annotations

import gc

from hawse.supervisor.process.signals import Signals

signals = Signals()
signals.hold()  # a SIGHUP that comes during the imports ends nothing, either

gc.disable()  # what imports and recovery make stays: looking for garbage in it is a tenth of a start (`_daemon` enables it)

import argparse
import asyncio
import contextlib
import fcntl
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

import anyio
import anyio.abc
import structlog

from hawse.handlers import BUILTIN
from hawse.supervisor import faults
from hawse.supervisor.api.server import make_app, serve
from hawse.supervisor.core import version
from hawse.supervisor.core.errors import HawseError, KernelError, Unavailable
from hawse.supervisor.core.events import DaemonStarted
from hawse.supervisor.engine import Engine
from hawse.supervisor.hooks import pyhandlers
from hawse.supervisor.images.images import Images
from hawse.supervisor.lifecycle import volumes
from hawse.supervisor.linux import cgroup_hierarchy, process
from hawse.supervisor.linux.topdir import spread_children
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.network.drivers.registry import Registry
from hawse.supervisor.parts import Live, Parts
from hawse.supervisor.process import log as logging
from hawse.supervisor.process import stacks
from hawse.supervisor.process.config import LOG_FORMATS, LOG_LEVELS, Config
from hawse.supervisor.process.notify import notify, notify_reloading, watchdog_interval
from hawse.supervisor.process.reload import Settings, reload
from hawse.supervisor.reconcile import copies, rebuild
from hawse.supervisor.runtime import seccomp
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.runtime.places import Places
from hawse.supervisor.serving import serving
from hawse.supervisor.store.store import Store

log = structlog.get_logger()

ENDING_DEADLINE = 5.0  # seconds that a daemon without its spawner gets to end in order


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 after SIGTERM or SIGINT, 1 when the daemon could not start or broke, 2 for bad configuration."""
    flags = vars(_parser().parse_args(argv))
    stop_all, rebuild_state = flags.pop("stop_all"), flags.pop("rebuild_state")
    try:
        settings = Settings.read(flags, os.environ)
    except HawseError as e:
        print(f"hawse daemon: {e}", file=sys.stderr)  # noqa: T201
        return 2
    faults.arm(os.environ.get(faults.VARIABLE, ""))
    logging.configure(settings.config.log_level, settings.config.log_format)
    failed = False
    try:
        anyio.run(_daemon, settings, stop_all, rebuild_state)
    except* (HawseError, OSError) as group:
        failed = True
        for error in _leaves(group):
            if isinstance(error, OSError) and error.filename:
                log.error("daemon_failed", error=str(KernelError.of("file", error)))
            else:
                log.error("daemon_failed", error=str(error), exc_info=isinstance(error, OSError) and error)
    return 1 if failed else 0


async def _daemon(settings: Settings, stop_all: bool, rebuild_state: bool) -> None:
    config = settings.config
    if os.geteuid() != 0:
        raise Unavailable("the hawse daemon needs root", hint="run it with sudo")
    with _only_one(config):
        others = pyhandlers.Loader()
        handlers = (*BUILTIN, *others.load(config.handlers_dir))
        hangup = asyncio.Event()
        async with (
            _hearing_requests(hangup),
            _parts(settings, rebuild_state) as parts,
            serving(parts, handlers) as engine,
        ):
            await others.forget_gone(engine.dispatcher)
            await parts.store.transact(lambda tx: tx.append(DaemonStarted(version=version.VERSION, pid=os.getpid())))
            async with serve(make_app(engine, config), config), anyio.create_task_group() as group:
                await group.start(_hear_signals, engine)  # before READY: from then on SIGTERM is a wish, not a kill
                gc.freeze()
                gc.enable()
                log.info("daemon_ready", socket=str(config.socket_path), root=str(config.root))
                notify("READY=1")
                group.start_soon(_spawner_lives, parts.spawner)
                group.start_soon(_reload, hangup, settings, engine)
                group.start_soon(engine.rehearsal.first)
                await engine.told_to_end.wait()
                log.info("daemon_stopping")
                if not (stop_all or engine.stops_all):
                    notify("STOPPING=1")
                group.cancel_scope.cancel()
            if stop_all or engine.stops_all:
                await engine.stop_all()
                notify("STOPPING=1")  # not before: the manager bounds what comes after it, and graces may be longer


@contextlib.asynccontextmanager
async def _hearing_requests(hangup: asyncio.Event) -> AsyncIterator[None]:
    """Answer signals that end nothing, and the service manager's watchdog, through start and end as well.

    SIGHUP sets `hangup`, for whoever can reload; SIGUSR2 means nothing.
    """

    async def hear() -> None:
        async for number in signals.heard():
            match number:
                case signal.SIGHUP:
                    hangup.set()
                case signal.SIGUSR1:
                    stacks.tell(asyncio.all_tasks())

    async with anyio.create_task_group() as group:
        group.start_soon(hear)
        group.start_soon(_watchdog)
        yield
        group.cancel_scope.cancel()


async def _reload(hangup: asyncio.Event, settings: Settings, engine: Engine) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        notify_reloading()
        problem = await reload(settings, engine.hooks.load)
        notify("READY=1\nSTATUS=" + (f"Not reloaded: {problem}" if problem else "Reloaded"))


@contextlib.asynccontextmanager
async def _parts(settings: Settings, rebuild_state: bool) -> AsyncIterator[Parts]:
    """Every edge, opened in order and closed in reverse."""
    config = settings.config
    places = Places.under(config)
    places.make()
    spread_children(config.root / "containers")
    copies.make_directories(config.root)
    database = config.root / "hawse.db"
    lost = rebuild_state and rebuild.aside(config, database)
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(database, time.time_ns, boot_id=process.boot_id())
        stack.push_async_callback(store.close)
        if lost:
            await rebuild.rebuild(config, store)
        await rebuild.refuse(config, store)  # before anything is swept
        await volumes.settle(places, store)
        network = NetworkCore(instance=config.instance, table=config.table, tag=config.tag, drivers=Registry)
        await network.start()
        stack.push_async_callback(network.close)
        cgroups = cgroup_hierarchy.detect(config.instance)
        spawner = await Spawner.start(config.run_dir / "spawner", cgroups.make_shims())
        stack.callback(spawner.close)
        _raise_descriptor_limit()  # for us: the spawner, and so the containers, keep what we were given
        seccomp.default_profile(config.root)  # compiled now, so that a missing libseccomp is told at the start
        yield Parts(
            settings=settings,
            store=store,
            network=network,
            spawner=spawner,
            images=await Images.open(config.root, store),
            cgroups=cgroups,
            clock=time.time_ns,
            random=random.SystemRandom(),
            places=places,
            live=Live.over(store),
        )


def _raise_descriptor_limit() -> None:
    """Let us have as many descriptors as may be had: each container, client and pending question has one or more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _only_one(config: Config) -> Iterator[None]:
    """Be the one daemon of a state directory and of a run directory.  Raises Unavailable naming the one that is there."""
    with contextlib.ExitStack() as held:
        for directory, mode in ((config.root, 0o710), (config.run_dir, 0o755)):
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
            lock = held.enter_context(_open_lock(directory / "daemon.lock"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise Unavailable(
                    f"another hawse daemon (pid {lock.read().strip() or '?'}) uses {directory}",
                    hint="choose another --run-dir, --root and --instance to run a second one",
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        yield


def _open_lock(path: Path) -> TextIO:
    """For root alone: whoever may open a file may lock it, and so keep every daemon from starting."""
    lock = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a+")
    os.fchmod(lock.fileno(), 0o600)  # one of before may be open to all
    return lock


async def _spawner_lives(spawner: Spawner) -> None:
    """Without its spawner the daemon can start nothing: it ends, and its successor recovers."""
    await spawner.wait_dead()
    # Crash-only: whatever is being undone meanwhile, the successor undoes as well, and sooner.
    deadline = threading.Timer(ENDING_DEADLINE, os._exit, (1,))
    deadline.daemon = True
    deadline.start()
    raise Unavailable("the spawner died; the daemon ends so that its successor recovers")


async def _watchdog() -> None:
    """Tell systemd that the event loop turns.  A watcher that dies ends the daemon by itself: they share a task group."""
    if interval := watchdog_interval():
        while True:
            notify("WATCHDOG=1")
            await anyio.sleep(interval)


async def _hear_signals(engine: Engine, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for _ in received:
            engine.shut_down(stop_all=False)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hawse daemon", description="The hawse container supervisor.")
    parser.add_argument("--root", help="state directory (default /var/lib/hawse)")
    parser.add_argument("--run-dir", help="directory for sockets and pids (default /run/hawse)")
    parser.add_argument("--instance", help="1-4 of a-z0-9, prefixes kernel objects when several daemons run")
    parser.add_argument("--config", help="configuration file (default /etc/hawse/hawse.toml)")
    parser.add_argument("--host", "-H", help="API socket (default RUN_DIR/hawse.sock)")
    parser.add_argument("--hooks-dir", help="directory of scripted hooks (default /etc/hawse/hooks.d)")
    parser.add_argument("--durable", choices=("on", "off"), help="answer when a change is on the disk (default on)")
    parser.add_argument("--log-level", choices=LOG_LEVELS)
    parser.add_argument("--log-format", choices=LOG_FORMATS)
    parser.add_argument("--rebuild-state", action="store_true", help="make a lost or damaged state database anew")
    parser.add_argument("--stop-all", action="store_true", help="stop all containers on SIGTERM")
    return parser


if __name__ == "__main__":
    code = main()
    signals.ignore()
    sys.exit(code)
