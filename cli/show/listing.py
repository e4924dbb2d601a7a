"""What verbs that act on many named things share: filters, and going through the names with every error told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

from hawse.cli.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hawse.cli.context import Context


def filters(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]] | None:
    """`--filter` values as the API takes them; None when there are none."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found or None


def each(names: Iterable[str], act: Callable[[str], str | None]) -> int:
    """Do it for one name after another, print what `act` returns, tell each error; 1 when there was one."""
    failed = False
    for name in names:
        try:
            said = act(name)
        except ApiError as e:
            failed = True
            tell(e)
        else:
            if said is not None:
                print(said)
    return int(failed)


def together(
    context: Context,
    names: list[str],
    request: Callable[[str], tuple[str, str, Mapping[str, object]]],
    *,
    missing_is_fine: bool = False,
) -> int:
    """Send one request for every name, many at a time; the names that went well are printed in their order."""
    failed = False
    for name, answer in zip(names, context.client.together(map(request, names)), strict=True):
        if isinstance(answer, ApiError):
            failed = failed or not (missing_is_fine and answer.status == 404)
            tell(answer)
        else:
            print(name)
    return int(failed)


def tell(error: ApiError) -> None:
    sys.stdout.flush()
    print(f"hawse: {error.message}", file=sys.stderr)
