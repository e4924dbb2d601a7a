"""Who imports what, read from the sources: for the tests about rooms and about what is pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("supervisor", "handlers", "cli")


def _module_name(path: Path) -> str:
    parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
    return ".".join(["hawse", *(parts[:-1] if parts[-1] == "__init__" else parts)])


MODULES = {_module_name(p): p for package in PACKAGES for p in sorted((REPOSITORY / package).rglob("*.py"))}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path, *, typing: bool = False) -> tuple[tuple[str, int], ...]:
    """(module, line) of everything that the file imports, late imports too; with `typing` what only a type checker sees."""
    return tuple(_imports(path, typing))


def _imports(path: Path, typing: bool) -> Iterator[tuple[str, int]]:
    tree = parsed(path)
    skipped = {
        child
        for node in ast.walk(tree)
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in MODULES else base), node.lineno


def closure(name: str) -> dict[str, str]:
    """Every module of ours that importing `name` loads, with who imported it first."""
    seen = {name: ""}
    todo = [name]
    while todo:
        current = todo.pop()
        for imported, _ in imports(MODULES[current]):
            if imported in MODULES and imported not in seen:
                seen[imported] = current
                todo.append(imported)
    return seen
