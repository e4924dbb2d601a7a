"""What is measured, a row each.  A measurement of one round returns series by name: samples, in the row's unit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.bench.worlds import World

Series = Mapping[str, list[float]]

PORT = 18_080
BASE_PORT = 20_000
HOST = "10.199.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much one round does."""

    samples: int = 10
    many: int = 100
    seconds: float = 2.0  # of each connection test


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement; `units` by series name, "ms" where it has none."""

    name: str
    title: str
    measure: Callable[[World, Scale], Series]
    units: Mapping[str, str] = field(default_factory=dict)


def run_verb(*options: str) -> Callable[[World, Scale], Series]:
    argv = ["run", "--rm", *options, "bench", "true"]

    def measure(world: World, scale: Scale) -> Series:
        world.call("command", argv=argv, count=1)
        return {"": world.call("command", argv=argv, count=scale.samples)}

    return measure


def first_instruction(network: str, port: int | None) -> Callable[[World, Scale], Series]:
    def measure(world: World, scale: Scale) -> Series:
        world.call("first_instruction", port=port, network=network, count=1)
        samples: Series = world.call("first_instruction", port=port, network=network, count=scale.samples)
        return samples

    return measure


def run_detached(world: World, scale: Scale) -> Series:
    world.call("run_detached", port=PORT, count=1)
    samples: Series = world.call("run_detached", port=PORT, count=scale.samples)
    return samples


def execute(world: World, scale: Scale) -> Series:
    return {"": world.call("execute", count=scale.samples)}


def command_line(world: World, scale: Scale) -> Series:
    world.call("command", argv=["version"], count=1)
    return {
        "version": world.call("command", argv=["version"], count=scale.samples),
        "ps": world.call("command", argv=["ps"], count=scale.samples),
    }


def round_trip(world: World, scale: Scale) -> Series:
    return {
        "/_ping": world.call("api_round_trip", path="/_ping", count=scale.samples * 10),
        "/containers/json": world.call("api_round_trip", path="/containers/json?all=1", count=scale.samples * 10),
    }


def runtimes(world: World, scale: Scale) -> Series:
    """The runtimes do not belong to an engine: measured once, where podman's and docker's are installed."""
    return world.call("runtimes", count=scale.samples) if world.engine == "podman" else {}


def kill_to_event(world: World, scale: Scale) -> Series:
    return {"": world.call("kill_to_event", count=max(scale.samples, 10))}


def hundred(world: World, scale: Scale) -> Series:
    """Start many, 4 at a time, through the API; look at them; `rm -f` them all."""
    many = scale.many
    memory_before, rules_before = world.call("memory"), world.call("rules")
    started = world.call("start_many", count=many, parallel=4, base_port=BASE_PORT)
    time.sleep(1)
    memory, rules = world.call("memory"), world.call("rules")
    listed = world.call("command", argv=["ps"], count=10)
    loaded = world.call("command", argv=["run", "--rm", "-p", f"{PORT}:80", "bench", "true"], count=scale.samples)
    first, last = connect(world, scale, BASE_PORT), connect(world, scale, BASE_PORT + many - 1)
    removed = world.call("remove_many", count=many)
    world.call("settle")
    series = {
        "start": [started["seconds"]],
        "start, each": started["each"],
        "rm -f": [removed],
        "ps": listed,
        "run --rm -p beside them": loaded,
        "connections, first port": [first],
        "connections, last port": [last],
        "nft lines per container": [(rules["lines"] - rules_before["lines"]) / many],
        "nft rules per container": [(rules["rules"] - rules_before["rules"]) / many],
        "PSS per container": [(total(memory) - total(memory_before)) / many],
    }
    for role, sizes in memory.items():
        series[f"PSS of {role} x{sizes['count']}"] = [sizes["pss"]]
    return series


def flood(world: World, scale: Scale) -> Series:
    if world.engine == "podman":
        return {}  # what its output costs, conmon pays
    told = world.call("flood", megabytes=scale.many)
    return {"into the log": [told["rate"]], "server CPU per 100 MB": [told["server"]]}


def flat(world: World, scale: Scale) -> Series:
    """The price of a port must not depend on how many there are.  The others would start 20,000 proxies, or rules."""
    if world.engine != "hawse":
        return {}
    many = 100 * scale.many
    world.call("start_many", count=1, parallel=1, base_port=BASE_PORT)
    before = connect(world, scale, BASE_PORT)
    series = {"start with them": [world.call("publish", count=many, base_port=BASE_PORT + 1)]}
    series |= {
        "connections, alone": [before],
        "connections, first": [connect(world, scale, BASE_PORT)],
        "connections, last": [connect(world, scale, BASE_PORT + many)],
    }
    beside = world.call("first_instruction", port=PORT, network="bridge", count=5)
    series |= {f"another start beside them: {name}": samples for name, samples in beside.items()}
    world.call("command", argv=["rm", "-f", "many0", "published"], count=1)
    return series


def churn(world: World, scale: Scale) -> Series:
    """Many lives side by side, twice the hundred: what the server keeps of them."""
    told = world.call("churn", count=2 * scale.many, parallel=scale.many // 2)
    return {
        "in all": [told["seconds"]],
        "server memory grown by": [told["after"]["pss"] - told["before"]["pss"]],
        "server descriptors grown by": [told["after"]["descriptors"] - told["before"]["descriptors"]],
        "server CPU per life": [(told["after"]["cpu"] - told["before"]["cpu"]) / (2 * scale.many)],
    }


def total(memory: Mapping[str, Mapping[str, int]]) -> int:
    return sum(role["pss"] for role in memory.values())


def connect(world: World, scale: Scale, port: int) -> float:
    """Connections a second from the client machine to a published port."""
    # 4 threads: with 2 the client idles while the one server thread works
    answer = json.loads(world.client([str(world.probe), "connect", HOST, str(port), str(scale.seconds), "4"]))
    if answer["failed"] > 0:
        raise RuntimeError(f"{world.engine}: {answer['failed']} connections to port {port} failed")
    return float(answer["per_second"])


ROWS = (
    Row(name="cli", title="the command line alone", measure=command_line),
    Row(name="api", title="API round trip, kept connection", measure=round_trip),
    Row(
        name="first",
        title="start request to first instruction (bridge, port)",
        measure=first_instruction("bridge", PORT),
    ),
    Row(
        name="first-none",
        title="start request to first instruction (--network none)",
        measure=first_instruction("none", None),
    ),
    Row(name="run", title="run --rm -p", measure=run_verb("-p", f"{PORT}:80")),
    Row(name="run-none", title="run --rm --network none", measure=run_verb("--network", "none")),
    Row(name="runtime", title="an OCI runtime alone, no network", measure=runtimes),
    Row(name="run-d", title="run -d -p, then rm -f", measure=run_detached),
    Row(name="exec", title="exec C true", measure=execute),
    Row(name="event", title="SIGKILL to the event at a subscriber", measure=kill_to_event),
    Row(
        name="hundred",
        title="100 containers with ports",
        measure=hundred,
        units={
            "start": "s",
            "rm -f": "s",
            "connections, first port": "/s",
            "connections, last port": "/s",
            "nft lines per container": "",
            "nft rules per container": "",
            "PSS": "KiB",
        },
    ),
    Row(
        name="flat",
        title="10,000 published ports",
        measure=flat,
        units=dict.fromkeys(("connections, alone", "connections, first", "connections, last"), "/s")
        | {"start with them": "s"},
    ),
    Row(name="flood", title="a program that floods its output", measure=flood, units={"into the log": "MB/s"}),
    Row(
        name="churn",
        title="200 lives (start, rm -f), 50 at a time",
        measure=churn,
        units={"server memory grown by": "KiB", "server descriptors grown by": "", "in all": "s"},
    ),
)
