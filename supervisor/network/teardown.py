"""Teardown: every step is done, whatever became of those before it, and what failed is raised together at the end.

What an undoing leaves behind is found again by the plan, but one step that fails must not keep the others from what they
can release.  A cancellation ends it at once, as it ends everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec

import anyio

from hawse.supervisor.core.errors import TeardownError

P = ParamSpec("P")


class Teardown:
    """`what` begins the message of the error: "unplug web from net"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._errors: list[Exception] = []

    async def step(self, undo: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do it; False when it failed, so that what depends on it can be left out.  Side by side is allowed."""
        try:
            await undo(*args, **kwargs)
        except Exception as e:
            self.failed(e)
            return False
        return True

    def failed(self, error: Exception) -> None:
        """Count something as a step that failed.  What a teardown inside of this one could not do is not wrapped again."""
        self._errors += error.exceptions if isinstance(error, TeardownError) else [error]

    @property
    def error(self) -> TeardownError | None:
        """Return what failed."""
        return TeardownError(self._what, self._errors) if self._errors else None

    def end(self) -> None:
        """Raises TeardownError when a step failed."""
        if error := self.error:
            raise error


async def undone(
    error: BaseException, what: str, undo: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs
) -> TeardownError | None:
    """Undo what was begun, not to be cancelled; the error and why the undoing failed, None when it did not.

    A cancellation stays one, whatever the undoing does: nobody would hear of it, and the plan finds what was left.
    """
    teardown, cause = Teardown(what), first(error)
    if isinstance(cause, Exception):
        teardown.failed(cause)
    with anyio.CancelScope(shield=True):
        clean = await teardown.step(undo, *args, **kwargs)
    return teardown.error if isinstance(cause, Exception) and not clean else None


def first(error: BaseException) -> BaseException:
    """The first error in the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup) and not isinstance(error, TeardownError):
        error = error.exceptions[0]
    return error
