from __future__ import annotations

from pathlib import Path

from hawse.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_reference_is_the_flag_tables() -> None:
    """Made anew with `python -m hawse.cli.reference > docs/cli.md`."""
    assert PAGE.read_text() == reference()


def test_every_flag_is_explained() -> None:
    assert not [line for line in reference().splitlines() if line.startswith("| `") and line.endswith("|  |")]
