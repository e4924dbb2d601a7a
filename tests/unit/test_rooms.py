"""The house: which room stands above which, and that no import runs back up, late ones and those for types included.

A room is a directory of modules.  A module that stands beside rooms, in supervisor/, supervisor/api/ or cli/, is a room
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.import_graph import MODULES, REPOSITORY, imports

FLOORS = (  # from the roof down; a room imports what is on the floors below its own
    "supervisor.__main__",
    "cli.main",
    "cli.complete cli.reference cli.install",
    "cli.verbs",
    "cli.files cli.selftest",
    "cli.flags",
    "cli.show",
    "cli.context",
    "cli.wire",
    "supervisor.api.server",
    "supervisor.api.router supervisor.api.document",
    "supervisor.api.routes",
    "supervisor.api.native",
    "supervisor.api.endpoints",
    "supervisor.api.hijack supervisor.api.upload",
    "supervisor.api.call",
    "supervisor.api.engine_api",
    "supervisor.serving",
    "supervisor.engine supervisor.api.connection",
    "supervisor.reconcile",
    "handlers supervisor.health supervisor.hooks",
    "supervisor.lifecycle",
    "supervisor.dispatch supervisor.dns",
    "supervisor.parts",
    "supervisor.images",
    "supervisor.journal supervisor.network.drivers supervisor.images.registry supervisor.runtime",
    "supervisor.docker supervisor.network supervisor.process supervisor.shim supervisor.store",
    "supervisor.api.wire supervisor.linux supervisor.locks",
    "cli.errors supervisor.core supervisor.faults",
)
FLOOR = {room: -height for height, rooms in enumerate(FLOORS) for room in rooms.split()}
MOST = 27
"""Of the rooms that a newcomer learns: those of supervisor/, the handlers, the command line, its installer and its lab."""

PARENTS = {name.rpartition(".")[0] for name in MODULES}
SHARED = {"hawse.supervisor", "hawse.supervisor.api", "hawse.cli"}  # by rooms and modules


def room(module: str) -> str:
    own = module if module in PARENTS else module.rpartition(".")[0]
    return (module if own in SHARED else own).removeprefix("hawse.")


def arrows(module: str) -> Iterator[tuple[str, int]]:
    """Our modules that the module imports in any way, with the line."""
    for imported, line in imports(MODULES[module], typing=True):
        if imported in MODULES and imported != module:
            yield imported, line


def test_every_room_has_its_floor() -> None:
    there = {room(module) for module in MODULES if MODULES[module].name != "__init__.py" or module == "hawse.handlers"}
    assert there == FLOOR.keys()


def test_the_rooms_are_few_enough_to_be_learned() -> None:
    ours = {name for name in FLOOR if name.startswith("supervisor.") and name.count(".") == 1}
    ours |= {"supervisor.api", "handlers", "cli", "cli.install", "cli.selftest"}
    assert len(ours) <= MOST, sorted(ours)


def test_the_map_has_every_room() -> None:
    """Each directory, and each module that stands in supervisor/ itself."""
    text = (REPOSITORY / "docs/architecture.md").read_text()
    drawn = text.partition("\n## Rooms\n")[2].partition("\n## ")[0].split()
    rooms = [name for name in FLOOR if f"hawse.{name}" in PARENTS or (name.count(".") == 1 and "cli" not in name)]
    assert not [name for name in rooms if not {f"{name.rpartition('.')[2]}{end}" for end in ("/", ".py")} & set(drawn)]


def test_no_arrow_runs_back_up() -> None:
    found = []
    for module, path in MODULES.items():
        for imported, line in arrows(module):
            here, there = room(module), room(imported)
            if here != there and FLOOR[here] <= FLOOR[there]:
                found.append(f"{path}:{line}: {here} imports {imported}, which is not below it")
    assert not found, "\n".join(found)


def test_no_files_need_each_other() -> None:
    """Directly or through others; each of the circle that is told is imported by the next."""
    graph = {module: {imported for imported, _ in arrows(module)} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        pytest.fail(" ← ".join(e.args[1]))


@pytest.mark.parametrize("module", sorted(m for m in MODULES if room(m) == "supervisor.shim"))
def test_what_runs_after_the_fork_imports_its_own_kind_only(module: str) -> None:
    """It is the memory of every container, and must not depend on what a daemon is installed with."""
    allowed = ("hawse.supervisor.shim.", "hawse.supervisor.linux.", "hawse.supervisor.faults")
    assert not [
        f"{MODULES[module]}:{line}: {imported}"
        for imported, line in imports(MODULES[module], typing=True)
        if imported.startswith("hawse.") and not imported.startswith(allowed)
    ]
