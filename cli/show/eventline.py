"""One event of the journal as a person reads it: time, what, of whom, and what matters about it."""

from __future__ import annotations

from hawse.cli.show.table import painted
from hawse.cli.show.times import nanoseconds, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GREEN = "created pulled started connected resumed repaired recovered succeeded healthy"
_RED = "exited oom killed start_failed quarantined dead failed unhealthy"
_YELLOW = """paused restarting renamed updated committed exec_started exec_ended removed obstructed cleared left published
port_taken disconnected tagged untagged starting"""
COLOURS = {
    word: name for name, words in (("green", _GREEN), ("red", _RED), ("yellow", _YELLOW)) for word in words.split()
}
"""What follows the noun in a type of event, or a state of health → its colour."""
_TYPE_WIDTH, _NAME_WIDTH = 22, 20


def table_line(event: dict[str, Any], colour: bool) -> str:
    """Fixed columns: what is to come is not known when a line is written."""
    kind = event["type"]
    shown = kind.ljust(_TYPE_WIDTH)
    if colour:
        word = event["data"].get("status") if kind == "container.health" else kind.partition(".")[2]
        shown = painted(shown, COLOURS.get(word or "", "yellow"))  # of a newer daemon's events nobody here knows
    when = rfc3339(nanoseconds(event["time"]))
    clock = f"{when[:10]} {when[11:23]}"
    line = f"{painted(clock, 'dim') if colour else clock}  {shown} {_name(event).ljust(_NAME_WIDTH)} {_detail(event)}"
    return line.rstrip()


def _name(event: dict[str, Any]) -> str:
    data = event["data"]
    for kind in ("container", "network", "volume"):
        if isinstance(data.get(kind), dict):
            return str(data[kind]["name"])
    if "image" in data:
        tags = data["image"]["tags"]
        return str(tags[0] if tags else data["image"]["id"][7:19])
    return str(data.get("handler") or data.get("network") or event["subject"].partition("/")[2][:12] or "-")


def _detail(event: dict[str, Any]) -> str:
    """Return what is particular to its type, as `name=value` pairs."""
    data = event["data"]
    found: dict[str, object] = {}
    if endpoint := data.get("endpoint"):
        found["network"] = endpoint["network"]
        found["ip"] = endpoint["address"]
        found["ports"] = ",".join(f"{p['host_port']}->{p['container_port']}/{p['proto']}" for p in endpoint["ports"])
    elif isinstance(left := data.get("network"), str) and "container" in data:
        found["network"] = left
    if taken := data.get("port"):
        found["port"] = f"{taken['host_ip'] or '0.0.0.0'}:{taken['host_port']}/{taken['proto']}"
    if obstacles := data.get("obstacles"):
        found["obstacles"] = ", ".join(obstacle["by"] for obstacle in obstacles)
    if ended := data.get("exit"):
        found["exit"] = "?" if ended["code"] is None else ended["code"]
        found["signal"] = ended["signal"]
        found["oom"] = "yes" if ended["oom"] else ""
        found["ran"] = f"{data['ran_ns'] / 1e9:.1f}s"
    for key in (
        "code",
        "signal",
        "old_name",
        "status",
        "name",
        "stage",
        "error",
        "reason",
        "tag",
        "object",
        "missing",
        "by",
    ):
        found.setdefault(key, data.get(key))
    if "argv" in data:
        found["argv"] = " ".join(data["argv"])
    for key in ("attempt", "detail", "adopted", "collected", "repaired", "version"):
        found[key] = data.get(key)
    if event["type"] == "container.created":
        found["image"] = data["container"]["config"]["image"]
    return " ".join(f"{key}={_quoted(value)}" for key, value in found.items() if value not in (None, "", ()))


def _quoted(value: object) -> str:
    text = str(value).replace("\n", " ")
    return f'"{text}"' if " " in text else text
