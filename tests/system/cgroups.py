"""Where the kernel keeps a container's control group: on v1 each controller has a hierarchy, on v2 there is one."""

from __future__ import annotations

from pathlib import Path

from hawse.cli.selftest.lab import Lab

HIERARCHIES = Path("/sys/fs/cgroup")


def directories(lab: Lab, identifier: str, controller: str) -> list[Path]:
    """The places where one with that id may have that controller: v1, v2, and v2 beside v1."""
    own = f"hawse_{lab.instance}/{identifier}"
    return [HIERARCHIES / controller / own, HIERARCHIES / own, HIERARCHIES / "unified" / own]


def setting(lab: Lab, identifier: str, v1: str, v2: str) -> str:
    """What it has for a container, `v1` being controller/file; pids are the lab's."""
    controller, _, file = v1.partition("/")
    first, *others = directories(lab, identifier, controller)
    places = [first / file, *(other / v2 for other in others)]
    return lab.run(["cat", next(p for p in places if p.exists())]).out.strip()


def frozen(lab: Lab, ref: str) -> bool:
    """Whether its freezer says so.  Raises KeyError for a freezer that is on the way."""
    said = setting(lab, lab.inspect(ref)["Id"], "freezer/freezer.state", "cgroup.freeze")
    return {"FROZEN": True, "1": True, "THAWED": False, "0": False}[said]
