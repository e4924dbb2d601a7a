"""The rules about what may import what (docs/architecture.md), checked on the sources.  Floors and circles: test_rooms.py."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.unit.import_graph import MODULES, closure, imports, parsed

COMPOSITION_ROOT = "hawse.supervisor.__main__"

PURE_ROOMS = ("hawse.supervisor.core.", "hawse.supervisor.docker.")
CHILD_ROOM = "hawse.supervisor.shim."
CLAIMS = {"pure": r"(?:^|[.;:]\s+)Pure\b", "stdlib": r"(?i)\b(?:stdlib|standard library) only\b"}
"""How a module says it in its docstring; whoever says it is checked."""


def claiming(claim: str, rooms: str | tuple[str, ...]) -> list[str]:
    """The modules of those rooms, and all others whose docstring has the claim."""
    return sorted(
        name
        for name, path in MODULES.items()
        if name.startswith(rooms) or re.search(CLAIMS[claim], ast.get_docstring(parsed(path)) or "")
    )


PURE = claiming("pure", PURE_ROOMS)  # time, ids and bytes come in as arguments
STDLIB_ONLY = claiming("stdlib", CHILD_ROOM)
PURE_LIBRARIES = {"msgspec", "dns"}  # dnspython reads and writes bytes here; it never asks
NAMES_ONLY = {("hawse.supervisor.core.signal_names", "signal"), ("hawse.supervisor.docker.query", "urllib.parse")}
"""What is imported for names, numbers or text: it does nothing."""
IMPURE_STDLIB = {
    *(
        "asyncio",
        "fcntl",
        "random",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "_socket",
        "sqlite3",
        "subprocess",
        "tempfile",
    ),
    *("threading", "time", "urllib", "uuid"),
}
SHIM = [name for name in MODULES if name.startswith(CHILD_ROOM)]


def offences(allowed: dict[str, tuple[str, ...]]) -> list[str]:
    """Imports between our packages that go against the arrows; package → prefixes it may import."""
    found = []
    for name, path in MODULES.items():
        package = ".".join(name.split(".")[:2])
        if name == COMPOSITION_ROOT:
            continue
        for imported, line in imports(path):
            if imported.split(".")[0] == "hawse" and not imported.startswith(allowed[package]):
                found.append(f"{path}:{line}: {name} imports {imported}")
    return found


def test_the_arrows_between_packages() -> None:
    """cli → supervisor.api.wire; handlers → supervisor; supervisor imports neither.

    The CLI may also become the daemon (`hawse daemon`), which it does by importing the composition root, late.
    """
    assert not offences(
        {
            "hawse.cli": ("hawse.cli", "hawse.supervisor.api.wire", COMPOSITION_ROOT),
            "hawse.handlers": ("hawse.handlers", "hawse.supervisor"),
            "hawse.supervisor": ("hawse.supervisor",),
        }
    )


def test_nobody_but_the_cli_imports_the_composition_root() -> None:
    importers = {
        name for name, path in MODULES.items() for imported, _ in imports(path) if imported == COMPOSITION_ROOT
    }
    assert all(name.startswith("hawse.cli.") for name in importers)


def test_the_claims_are_found() -> None:
    """Else a word that changed would leave nobody to check."""
    assert {"hawse.supervisor.network.ruleset", "hawse.supervisor.reconcile.plan", "hawse.supervisor.api.wire"} <= {
        *PURE
    }
    assert {"hawse.supervisor.linux.mounts", "hawse.supervisor.faults", "hawse.supervisor.api.wire"} <= {*STDLIB_ONLY}


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_loads_no_clock_no_socket_no_database(name: str) -> None:
    for module, importer in closure(name).items():
        for imported, line in imports(MODULES[module]):
            top = imported.split(".")[0]
            where = f"{MODULES[module]}:{line} (loaded by {importer or 'itself'}): {imported}"
            assert top == "hawse" or top in PURE_LIBRARIES or top in sys.stdlib_module_names, where
            assert top not in IMPURE_STDLIB or (module, imported) in NAMES_ONLY, where


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_what_says_so_needs_only_the_standard_library(name: str) -> None:
    for module, importer in closure(name).items():
        for imported, line in imports(MODULES[module]):
            top = imported.split(".")[0]
            assert top == "hawse" or top in sys.stdlib_module_names, (
                f"{MODULES[module]}:{line} (loaded by {importer or 'itself'}): {imported}"
            )


def test_sql_is_only_in_the_store() -> None:
    found = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        if not name.startswith(("hawse.supervisor.store", "hawse.cli.selftest"))  # that looks at all from outside
        for imported, _ in imports(path)
        if imported.split(".")[0] in ("sqlite3", "aiosqlite")
    ]
    assert not found


def test_system_calls_by_ctypes_are_only_in_linux() -> None:
    found = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        if not name.startswith(("hawse.supervisor.linux", "hawse.cli.selftest"))
        for imported, _ in imports(path)
        if imported.split(".")[0] in ("ctypes", "pyroute2")
    ]
    assert not found


def test_the_daemon_never_forks() -> None:
    """Threads live there.  Only the child side may fork, unshare or setns."""
    banned = {"fork", "forkpty", "unshare", "setns", "posix_spawn"}
    child_side = {m for name in SHIM for m in closure(name)}
    found = []
    for name, path in MODULES.items():
        if name in child_side or not name.startswith(("hawse.supervisor", "hawse.handlers")):
            continue
        found += [
            f"{path}:{node.lineno}: os.{node.attr}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Attribute) and node.attr in banned and ast.unparse(node.value) == "os"
        ]
    assert not found


def test_no_read_keeps_the_event_loop_while_there_is_something_to_read() -> None:
    """These return at once then, without a turn for anybody else: who writes without end has the daemon to itself."""
    banned = {"sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_accept"}
    assert not [
        f"{path}:{node.lineno}: {node.attr}"
        for path in MODULES.values()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in banned
    ]


def test_no_module_named_after_nothing() -> None:
    """A file has one subject, and its name says which."""
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [name for name in MODULES if vague & set(name.split("."))]


def test_every_module_says_what_it_owns() -> None:
    for path in MODULES.values():
        tree = parsed(path)
        assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"


def test_the_command_line_starts_without_the_engine() -> None:
    """What `hawse ps` loads decides how fast it is: none of the daemon's libraries."""
    heavy = {"aiohttp", "aiosqlite", "anyio", "asyncio", "msgspec", "pyroute2", "structlog", "hawse.supervisor.engine"}
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", "import hawse.cli.main, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "hawse.cli.main" in loaded
    assert not heavy & set(loaded)


def test_who_looks_at_facts_says_what_of_all_of_them() -> None:
    """The union is closed: mypy reports a new fact wherever a match ends in `assert_never`."""
    matches = [
        (path, node)
        for path in MODULES.values()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Match) and ast.unparse(node.subject).endswith(".fact")
    ]
    assert matches
    assert not [
        f"{path}:{node.lineno}"
        for path, node in matches
        if not ast.unparse(node.cases[-1].body[-1]).startswith("assert_never(")
    ]


def test_the_states_in_which_a_program_runs_are_listed_once() -> None:
    """`State.is_running` has them: whoever adds a state like paused must not look for lists of them everywhere."""
    listed = re.compile(r"State\.RUNNING, State\.PAUSED|State\.PAUSED, State\.RUNNING")
    found = [
        str(path) for path in MODULES.values() if not path.match("core/model.py") and listed.search(path.read_text())
    ]
    assert not found
