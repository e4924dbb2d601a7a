"""What docs and docstrings name is there: files, tests, pages.  And nothing is cited that a reader has not got."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.events_page import MARK
from tests.unit.import_graph import REPOSITORY, parsed

PATH = re.compile(r"(?<![\w./*{}<>-])((?:[a-z_0-9]+/)*[a-z_0-9]+\.(?:py|md))\b(?!\.\w)")
TEST = re.compile(r"([a-z_0-9/]+\.py)::(\w+)")
LINK = re.compile(r"\]\(([^)#:\s]*)(#[^)]*)?\)")
OUTSIDE = re.compile(r"\b[A-Z]{4,}(?:\.md)? §")
CLAUSES = set("What One Until Whether How Of As Its Where Who Which Whose Why Those From".split())
TREES = ("supervisor", "handlers", "cli", "tests", "docs", "examples", "script")
FOREIGN = {"layer.md"}
"""A file of the OCI image specification."""
WIDTH = 120
GENERATED = {"docs/cli.md", "docs/docker-api.md", "docs/states.md"}
"""Pages that a program writes whole; of docs/events.md it writes what is behind MARK."""


@cache
def files() -> frozenset[str]:
    found = [path for top in TREES for path in (REPOSITORY / top).rglob("*") if "__pycache__" not in path.parts]
    return frozenset(str(path.relative_to(REPOSITORY)) for path in [*found, *REPOSITORY.glob("*.*")] if path.is_file())


PAGES = sorted(name for name in files() if name.endswith(".md"))
SOURCES = sorted(name for name in files() if name.endswith(".py"))


def prose(name: str) -> Iterator[str]:
    """A page as it is; of a source file the docstrings and comments."""
    text = (REPOSITORY / name).read_text()
    if name.endswith(".md"):
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@cache
def endings() -> frozenset[str]:
    """Every file by each way to name it: events.py, core/events.py, supervisor/core/events.py."""
    return frozenset(
        "/".join(parts[at:]) for name in files() for parts in [name.split("/")] for at in range(len(parts))
    )


def exists(named: str) -> bool:
    return named in FOREIGN or named in endings()


def test_every_file_that_is_named_exists() -> None:
    assert not [
        f"{name}: {named}"
        for name in (*PAGES, *SOURCES)
        if any(
            not exists(named) for named in PATH.findall((REPOSITORY / name).read_text())
        )  # else it need not be parsed
        for text in prose(name)
        for named in PATH.findall(text)
        if not exists(named)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = REPOSITORY / name
    for link, anchor in LINK.findall(page.read_text()):
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}{anchor}"


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_is_named_exists(name: str) -> None:
    for path, test in TEST.findall((REPOSITORY / name).read_text()):
        texts = [(REPOSITORY / file).read_text() for file in files() if f"/{file}".endswith(f"/{path}")]
        assert any(f"def {test}(" in text for text in texts), f"{path}::{test}"


def test_docstrings_of_functions_begin_with_a_sentence() -> None:
    """A clause without a verb sends its reader to the code for the subject: return, wait until, tell whether."""
    found = []
    for name in SOURCES:
        if name.startswith("tests/"):
            continue
        for node in ast.walk(parsed(REPOSITORY / name)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = ast.get_docstring(node)
            if text and text.split()[0] in CLAUSES:
                found.append(f"{name}:{node.lineno}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)


def test_no_document_is_cited_that_is_not_here() -> None:
    cited = {name: OUTSIDE.findall((REPOSITORY / name).read_text()) for name in (*PAGES, *SOURCES)}
    assert not {name: found for name, found in cited.items() if found}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = {"README.md"}, ["README.md"]
    while todo:
        name = todo.pop()
        for link, _ in LINK.findall((REPOSITORY / name).read_text()):
            target = (REPOSITORY / name).parent.joinpath(link).resolve()
            if target.is_dir():
                target /= "README.md"
            page = str(target.relative_to(REPOSITORY))
            if page in PAGES and page not in reached:
                reached.add(page)
                todo.append(page)
    assert reached == set(PAGES)


def wide(text: str) -> Iterator[str]:
    """The lines of prose that are too long.  A table's row, code, and a line of one word cannot be wrapped."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith("|") and len(line) > WIDTH and " " in line.strip():
            yield f"line {number} has {len(line)} characters: {line[:60]}…"


@pytest.mark.parametrize("name", [name for name in PAGES if re.fullmatch(r"(docs/)?[\w-]+\.md", name)])
def test_prose_is_wrapped_at_one_width(name: str) -> None:
    by_hand = "" if name in GENERATED else (REPOSITORY / name).read_text().partition(MARK)[0]
    assert not list(wide(by_hand))
