"""`python -m tests.events_page`: the examples of docs/events.md, made anew from a life in a lab.

Every type of event happens for real where the run brings it about; the others are built around the record of a real
container, and the page says so.  tests/unit/test_events_page.py tells when the page has gone stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import FACT_TYPES
from hawse.supervisor.core.model import encode_hook

PAGE = Path(__file__).resolve().parents[1] / "docs" / "events.md"
MARK = "<!-- examples: python -m tests.events_page -->\n"
OBJECTS = ("container", "network", "image", "volume")


def main() -> None:
    told = live()
    found = {event["type"]: event for event in told[::-1]}
    text = PAGE.read_text().partition(MARK)[0] + MARK
    shown: set[str] = set()
    for kind, cls in FACT_TYPES.items():
        event = found.get(kind) or built(kind, found["container.started"], found["image.created"])
        note = "" if kind in found else " Not from the run: made by hand around a real container."
        about = " ".join((cls.__doc__ or "").split()) if "(" not in (cls.__doc__ or "")[:30] else ""
        text += (
            f"\n### {kind}\n\n{about}{note}".rstrip()
            + "\n\n```json\n"
            + json.dumps(short(event, shown), indent=1, ensure_ascii=False)
        )
        text += "\n```\n"
    PAGE.write_text(text)


def short(event: dict[str, Any], shown: set[str]) -> dict[str, Any]:
    """Objects that were shown in full before are cut down to what tells them apart; envelopes but the first, too."""
    data = dict(event["data"])
    for key in OBJECTS:
        if isinstance(data.get(key), dict):
            if key in shown:
                data[key] = {name: data[key][name] for name in ("id", "name", "state") if name in data[key]} | {
                    "…": "…"
                }
            shown.add(key)
    if "envelope" in shown:
        return {"type": event["type"], "subject": event["subject"], "cause": event["cause"], "data": data}
    shown.add("envelope")
    return {**event, "data": data}


def built(kind: str, started: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """The event of a fault or of a registry, around a real container or image where it is about one."""
    cls = FACT_TYPES[kind]
    needed: dict[str, Any] = {"container": started["data"]["container"]}
    needed |= {
        "handler": "10-notify",
        "image": image["data"]["image"],
        "name": "registry.example.org/site:1",
        "event": started["id"],
        "endpoint": (started["data"]["endpoints"] or [None])[0],
    }
    needed |= {"port": {"container_port": 80, "host_port": 8080}, "by": "process nginx (pid 1204)"}
    names = {field.name for field in msgspec.structs.fields(cls)}
    fact = facts.decode_fact(kind, msgspec.json.encode({k: v for k, v in needed.items() if k in names}))
    data = msgspec.to_builtins(facts.for_readers(fact), enc_hook=encode_hook)
    return {**started, "type": kind, "subject": fact.subject, "data": data}


def live() -> list[dict[str, Any]]:
    """One of everything."""
    with Lab() as lab:
        hook = lab.state / "hooks.d" / "on-container.started.d" / "10-notify"
        failing = lab.state / "hooks.d" / "on-container.paused.d" / "10-broken"
        late = lab.state / "hooks.d" / "on-container.resumed.d" / "10-later"
        for path, script in ((hook, "exit 0"), (failing, "echo no >&2; exit 125"), (late, "echo not yet >&2; exit 75")):
            path.parent.mkdir(parents=True)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        lab.hawse("network", "create", "front")
        lab.hawse("volume", "create", "data")
        run = ("run", "-d", "--network", "front")
        web = ("--name", "web", "-l", "tier=front", "-p", "8080:80")
        health = ("--health-cmd", "true", "--health-interval", "200ms")
        lab.hawse(*run, *web, *health, "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
        lab.hawse("exec", "web", "true")
        for words in ("pause web", "unpause web", "rename web www", "rename www web", "update --memory 64m web"):
            lab.hawse(*words.split())
        lab.hawse("commit", "web", "site:1")
        lab.hawse("tag", "site:1", "site:2")
        lab.hawse("rmi", "site:2")
        lab.hawse("rmi", "site:1")
        lab.hawse("network", "connect", "bridge", "web")
        lab.hawse("network", "disconnect", "front", "web")
        lab.hawse("network", "connect", "front", "web")
        lab.hawse("network", "disconnect", "bridge", "web")
        veth = next(e for e in told(lab) if e["type"] == "network.connected")["data"]["endpoint"]["veth"]
        lab.run(["ip", "link", "del", veth])
        eventually(lambda: any(e["type"] == "network.repaired" for e in told(lab)))
        lab.run(
            [
                "nft",
                "add table ip other; add chain ip other FORWARD { type filter hook forward priority 0; policy drop; }",
            ]
        )
        eventually(lambda: any(e["type"] == "network.obstructed" for e in told(lab)))
        lab.run(["nft", "delete table ip other"])
        eventually(lambda: any(e["type"] == "network.cleared" for e in told(lab)))
        lab.hawse("create", "--network", "front", "--name", "idle", "busybox", "true")
        lab.hawse("network", "connect", "bridge", "idle")
        lab.hawse("network", "disconnect", "bridge", "idle")
        lab.hawse(*run, "--name", "nope", "busybox", "/nope", check=False)
        lab.hawse("run", "--name", "fat", "--memory", "8m", "busybox", "tail", "/dev/zero", check=False)
        lab.hawse("run", "-d", "--name", "again", "--restart", "on-failure:1", "busybox", "false")
        eventually(lambda: any(e["type"] == "container.restarting" for e in told(lab)))
        eventually(lambda: {"hook.dead", "hook.failed", "hook.succeeded"} <= {e["type"] for e in told(lab)}, 20)
        lab.hawse("kill", "web")
        lab.hawse("wait", "web")
        lab.hawse("rm", "-f", "web", "idle", "nope", "fat", "again", check=False)
        lab.hawse("network", "rm", "front")
        lab.hawse("volume", "rm", "data")
        lab.daemon.restart()
        return told(lab)


def told(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.hawse("events", "--no-follow").out.splitlines()]


if __name__ == "__main__":
    main()
