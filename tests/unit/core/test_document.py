"""docs/states.md and the machine's table."""

from __future__ import annotations

from hawse.supervisor.core.document import MEANING, page
from hawse.supervisor.core.machine import TRANSITIONS
from hawse.supervisor.core.model import State
from tests.unit.import_graph import REPOSITORY


def test_the_page_is_current() -> None:
    """Made anew with `python -m hawse.supervisor.core.document > docs/states.md`."""
    assert (REPOSITORY / "docs/states.md").read_text() == page()


def test_every_state_and_stimulus_is_explained() -> None:
    assert MEANING.keys() == set(State)
    for _, stimulus in TRANSITIONS:  # a dataclass without a docstring is given its signature
        assert stimulus.__doc__ and not stimulus.__doc__.startswith(f"{stimulus.__name__}("), stimulus
