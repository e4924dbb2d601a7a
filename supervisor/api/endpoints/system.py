"""Endpoints about the daemon itself: _ping, version, info."""

from __future__ import annotations

import os
import platform
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import HEADERS, Call
from hawse.supervisor.api.engine_api import EngineApi
from hawse.supervisor.core.errors import NotFound
from hawse.supervisor.core.model import State
from hawse.supervisor.images.registry import platforms
from hawse.supervisor.linux import apparmor
from hawse.supervisor.network.drivers.registry import BUILTIN
from hawse.supervisor.store.tx import Tx

_PING = {
    **HEADERS,
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}


async def ping(call: Call) -> web.StreamResponse:
    """GET and HEAD /_ping: clients negotiate the version by its headers."""
    return web.Response(body=b"OK", headers=_PING)


async def version(call: Call) -> web.StreamResponse:
    """GET /version: which API versions it speaks, and what it is."""
    details = {
        "ApiVersion": wire.API_VERSION,
        "MinAPIVersion": wire.MIN_API_VERSION,
        "Os": "linux",
        "Arch": platforms.of_machine(platform.machine()).architecture,
        "KernelVersion": platform.release(),
        "GoVersion": f"none, python{platform.python_version()}",
        "GitCommit": "",
        "BuildTime": "",
        "Experimental": "false",
    }
    view = {
        "Platform": {"Name": "hawse"},
        "Components": [{"Name": "Engine", "Version": wire.VERSION, "Details": details}],
        "Version": wire.VERSION,
        **details,
        "Experimental": False,
    }
    return call.json(view)


async def counts(engine: EngineApi) -> dict[str, int]:
    """Return how much of everything there is."""

    def read(tx: Tx) -> tuple[Counter[State], int, int, int]:
        states = Counter(c.state for c in tx.containers())
        return states, len(tx.images()), len(tx.networks()), len(tx.volumes())

    states, images, networks, volumes = await engine.store.read(read)
    running, paused = states[State.RUNNING], states[State.PAUSED]
    total = states.total()
    return {
        "containers": total,
        "running": running,
        "paused": paused,
        "stopped": total - running - paused,
        "images": images,
        "networks": networks,
        "volumes": volumes,
    }


async def plugins(call: Call) -> web.StreamResponse:
    """GET /plugins: there are none."""
    return call.json([])


async def plugin(call: Call) -> web.StreamResponse:
    """GET /plugins/X/json: there is none; Docker's client asks when it looks for an object of any kind."""
    raise NotFound(f'plugin "{call.params["name"]}" not found')


def obstacles(engine: EngineApi) -> list[str]:
    """Other programs' rules that cut networks, as last seen, with the remedies."""
    return [
        f"network {network}: {told.what}: dropped by {told.by}; remedy: {told.remedy}"
        for network, found in engine.lookout.found.items()
        for told in found
    ]


async def info(call: Call) -> web.StreamResponse:
    """GET /info: counts, the machine, what the daemon can do."""
    engine = call.engine
    many = await counts(engine)
    config = engine.parts.config
    now = datetime.fromtimestamp(engine.parts.clock() / 1e9, UTC)
    missing = [str(feature) for feature in await engine.rehearsal.features() if not feature.found]
    view: dict[str, Any] = {
        "ID": engine.store.journal.epochs.cursor(0).rpartition("-")[0],
        "Name": platform.node(),
        "Containers": many["containers"],
        "ContainersRunning": many["running"],
        "ContainersPaused": many["paused"],
        "ContainersStopped": many["stopped"],
        "Images": many["images"],
        "ServerVersion": wire.VERSION,
        "Driver": "overlay2",
        "DriverStatus": [["Native Overlay Diff", "true"], ["userxattr", "true"]],
        "DockerRootDir": str(config.root),
        "SystemTime": now.isoformat().replace("+00:00", "Z"),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if engine.parts.cgroups.v2 else "1",
        "KernelVersion": platform.release(),
        "OperatingSystem": _distribution(),
        "OSType": "linux",
        "OSVersion": "",
        "Architecture": platform.machine(),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "IndexServerAddress": "",
        "RegistryConfig": {"IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": []},
        "Plugins": {
            "Volume": ["local"],
            "Network": sorted(BUILTIN),
            "Authorization": None,
            "Log": ["journald", "json-file", "local", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "OomKillDisable": engine.parts.cgroups.has_v1_memory,
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": False,
        "LiveRestoreEnabled": True,
        "DefaultRuntime": "hawse",
        "Runtimes": {"hawse": {"path": "hawse"}},
        "Isolation": "",
        "InitBinary": "hawse",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": [
            *(["name=apparmor"] if apparmor.is_enabled() else []),
            "name=seccomp,profile=builtin",
            "name=userns",
            "name=no-new-privileges",
        ],
        "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False, "NodeID": "", "NodeAddr": "", "Error": ""},
        "Warnings": [f"WARNING: {text}" for text in missing + obstacles(engine)] or None,
    }
    return call.json(view)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "Linux"
