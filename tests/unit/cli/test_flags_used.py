"""Nothing is accepted and ignored: every flag of every verb is read by the verb, or has its reason here."""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from types import ModuleType

import pytest

from hawse.cli.flags.flags import Command
from hawse.cli.verbs.table import GROUPS, VERBS

VOID = {
    ("create", "quiet"): "it would silence a pull, and there is none",
    ("run", "quiet"): "it would silence a pull, and there is none",
}
ENTRIES = {name: entry[:2] for name, entry in VERBS.items()} | {
    f"{group} {name}": entry[:2] for group, (_, verbs) in GROUPS.items() for name, entry in verbs.items()
}


@cache
def read_in(module: ModuleType) -> frozenset[str]:
    """What is read of options, as attributes or by name, in a module of the command line and in those that it imports."""
    tree = ast.parse(inspect.getsource(module))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_options(node.value)}
    declared = {id(part) for node in ast.walk(tree) if _is_flag(node) for part in ast.walk(node)}
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in declared)
    found |= {node.value.replace("-", "_") for node in named if isinstance(node.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hawse.cli."):
            for place in (node.module, *(f"{node.module}.{name.name}" for name in node.names)):
                try:
                    imported = importlib.import_module(str(place))
                except ModuleNotFoundError:
                    continue
                if imported.__name__.startswith(
                    ("hawse.cli.flags.", "hawse.cli.wire.", "hawse.cli.files.", "hawse.cli.verbs.")
                ):
                    found |= read_in(imported)
    return frozenset(found)


def _is_options(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "options"


def _is_flag(node: ast.AST) -> bool:
    """Where a flag is declared its name says nothing of its use."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Flag"


@pytest.mark.parametrize("verb", ENTRIES)
def test_every_flag_is_read(verb: str) -> None:
    place, name = ENTRIES[verb]
    module = importlib.import_module(f"hawse.cli.{place}")
    command = getattr(module, name)
    assert isinstance(command, Command)
    known = read_in(module)
    for flag in command.flags:
        if (verb.rpartition(" ")[2], flag.name) not in VOID:
            assert flag.name.replace("-", "_") in known, f"--{flag.name} of {verb} is ignored"
