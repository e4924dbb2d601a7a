"""What pyproject.toml declares is what is imported, and what is used of a library's inside is still there."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from pathlib import Path

import aiosqlite
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hawse.supervisor.api import connection
from tests.unit.import_graph import MODULES, REPOSITORY, imports

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
IMPORT_NAMES = {"dnspython": "dns", "pytest-asyncio": "pytest_asyncio"}
UNSEEN = {"pytest-timeout", "setuptools", "testcontainers"}
"""A plugin of pytest, what builds the wheel, and what a program in tests/system/test_docker_testcontainers.py imports."""


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements}


def foreign(paths: list[Path]) -> set[str]:
    """The libraries that are neither Python's nor ours."""
    tops = {imported.split(".")[0] for path in paths for imported, _ in imports(path, typing=True)}
    return tops - set(sys.stdlib_module_names) - {"hawse", "tests", "_typeshed"}  # that one is mypy's


def test_hawse_declares_exactly_what_it_imports() -> None:
    names = {IMPORT_NAMES.get(name, name) for name in declared(PROJECT["dependencies"])}
    assert names == foreign(list(MODULES.values()))


def test_the_tests_declare_exactly_what_they_import() -> None:
    ours, test = declared(PROJECT["dependencies"]), declared(PROJECT["optional-dependencies"]["test"])
    used = foreign(list((REPOSITORY / "tests").rglob("*.py"))) - {IMPORT_NAMES.get(name, name) for name in ours}
    assert used == {IMPORT_NAMES.get(name, name) for name in test - UNSEEN}


def test_what_is_bounded_is_what_is_subclassed() -> None:
    """A library promises nothing about its inside from one minor version to the next."""
    bounded = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"] if "<" in requirement}
    assert bounded == {"aiohttp", "aiosqlite"}


def test_aiohttp_has_what_our_connections_override() -> None:
    for name in ("connection_made", "connection_lost", "eof_received", "data_received", "close", "finish_response"):
        own, theirs = getattr(connection.Connection, name), getattr(RequestHandler, name)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(theirs).parameters), name
    assert inspect.iscoroutinefunction(RequestHandler.finish_response)
    assert callable(RequestHandler.force_close)
    made = set(_assigned(RequestHandler)) | set(_assigned(web.Server))
    assert {"transport", "_loop", "_kwargs"} <= made


def test_aiosqlite_has_what_our_connections_use() -> None:
    assert inspect.iscoroutinefunction(aiosqlite.Connection._execute)
    assert {"_running", "_connection"} <= set(_assigned(aiosqlite.Connection))
    assert isinstance(inspect.getattr_static(aiosqlite.Connection, "_conn"), property)


def _assigned(cls: type) -> list[str]:
    """The names that any class of its line gives to `self`."""
    return [
        node.attr
        for base in cls.__mro__[:-1]
        if inspect.isclass(base) and base.__module__.split(".")[0] in ("aiohttp", "aiosqlite")
        for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(base) or base)))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    ]
