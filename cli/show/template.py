"""Go's text templates, as far as people use them in `--format`.

    {{.State.Pid}}  {{json .Config}}  {{index .Labels "a.b"}}  {{.Name | upper}}  {{printf "%s-%d" .ID 3}}
    {{range $k, $v := .Ports}}…{{else}}…{{end}}  {{if eq .State "running"}}…{{else if …}}…{{end}}  {{with .X}}…{{end}}
    {{$x := .Name}}  {{/* comment */}}  {{- trims the blanks before, and after -}}

The text becomes a tree once and is rendered for each row.  A field that is not there is an error, as it is in Docker's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from hawse.cli.errors import Failure
from hawse.cli.show.template_functions import FUNCTIONS, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
  | (?P<number>-?\d+(?:\.\d+)?)
  | (?P<variable>\$\w*)
  | (?P<path>\.(?:\w+)?(?:\.\w+)*)
  | (?P<word>\w+)
  | (?P<mark>:=|[()|,=])
    )""",
    re.VERBOSE,
)
Scope = dict[str, "Any"]


class Template:
    """A parsed template.  Making one and rendering it raise Failure for what is wrong."""

    def __init__(self, text: str) -> None:
        self._parts = list(_split(text))
        self._at = 0
        self._nodes, closer = self._block()
        if closer:
            raise _wrong(f"unexpected {{{{{closer}}}}}")

    def render(self, data: Any) -> str:
        scope: Scope = {"$": data}
        return "".join(_render(self._nodes, data, scope))

    def _block(self) -> tuple[list[_Node], str]:
        """Nodes up to the `end` or `else` that closes this block (which is returned), or the end of the text."""
        nodes: list[_Node] = []
        while self._at < len(self._parts):
            is_action, text = self._parts[self._at]
            self._at += 1
            if not is_action:
                nodes.append(_Literal(text))
                continue
            keyword, _, rest = text.partition(" ")
            if keyword in ("end", "else"):
                return nodes, text
            if keyword in ("if", "with", "range"):
                nodes.append(self._control(keyword, rest))
            elif text:
                nodes.append(_Output(_Pipeline(text)))
        return nodes, ""

    def _control(self, keyword: str, condition: str) -> _Node:
        names: tuple[str, ...] = ()
        if keyword == "range" and ":=" in condition:
            left, _, condition = condition.partition(":=")
            names = tuple(name.strip() for name in left.split(","))
        body, closer = self._block()
        otherwise: list[_Node] = []
        if closer.startswith("else"):
            rest = closer.removeprefix("else").strip()
            if rest:  # {{else if x}}: one more control in the else branch, closed by the same end
                inner, _, inner_condition = rest.partition(" ")
                otherwise = [self._control(inner, inner_condition)]
                closer = "end"
            else:
                otherwise, closer = self._block()
        if closer != "end":
            raise _wrong(f"{keyword} without {{{{end}}}}")
        return _Control(keyword, names, _Pipeline(condition), body, otherwise)


class _Node:
    def render(self, dot: Any, scope: Scope) -> Iterator[str]:
        raise NotImplementedError


class _Literal(_Node):
    def __init__(self, text: str) -> None:
        self._text = text

    def render(self, dot: Any, scope: Scope) -> Iterator[str]:
        yield self._text


class _Output(_Node):
    def __init__(self, pipeline: _Pipeline) -> None:
        self._pipeline = pipeline

    def render(self, dot: Any, scope: Scope) -> Iterator[str]:
        value = self._pipeline.value(dot, scope)
        if not self._pipeline.assigns:
            yield shown(value)


class _Control(_Node):
    def __init__(
        self, keyword: str, names: tuple[str, ...], condition: _Pipeline, body: list[_Node], otherwise: list[_Node]
    ) -> None:
        self._keyword, self._names, self._condition = keyword, names, condition
        self._body, self._otherwise = body, otherwise

    def render(self, dot: Any, scope: Scope) -> Iterator[str]:
        inner = dict(scope)
        value = self._condition.value(dot, inner)
        if not value:
            yield from _render(self._otherwise, dot, inner)
        elif self._keyword == "range":
            for key, item in _items(value):
                bound = dict(inner)
                bound.update(zip(self._names, (item,) if len(self._names) == 1 else (key, item), strict=False))
                yield from _render(self._body, item, bound)
        else:
            yield from _render(self._body, value if self._keyword == "with" else dot, inner)


class _Pipeline:
    """`a b | c d`, perhaps assigned to a variable."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self.assigns = ""
        if len(self._tokens) > 1 and self._tokens[0][0] == "variable" and self._tokens[1][1] in (":=", "="):
            self.assigns = self._tokens[0][1]
            self._tokens = self._tokens[2:]
        if not self._tokens:
            raise _wrong("missing value for command")

    def value(self, dot: Any, scope: Scope) -> Any:
        value, rest = _pipeline(self._tokens, dot, scope)
        if rest:
            raise _wrong(f"unexpected {rest[0][1]!r}")
        if self.assigns:
            scope[self.assigns] = value
        return value


Token = tuple[str, str]


def _pipeline(tokens: Sequence[Token], dot: Any, scope: Scope) -> tuple[Any, Sequence[Token]]:
    piped: list[Any] = []
    while True:
        value, tokens = _command(tokens, dot, scope, piped)
        if not tokens or tokens[0][1] != "|":
            return value, tokens
        piped, tokens = [value], tokens[1:]


def _command(tokens: Sequence[Token], dot: Any, scope: Scope, piped: list[Any]) -> tuple[Any, Sequence[Token]]:
    """Run one function or value with its arguments; what was piped comes last."""
    if not tokens:
        raise _wrong("missing value for command")
    function: Callable[..., Any] | None = None
    kind, text = tokens[0]
    if kind == "word" and text in FUNCTIONS:
        function, tokens = FUNCTIONS[text], tokens[1:]
        name = text
    else:
        value, tokens = _operand(tokens, dot, scope)
        name = text
        if callable(value):
            function = value
    arguments: list[Any] = []
    while (tokens and tokens[0][1] not in ("|", ")")) or (tokens and tokens[0][0] == "string"):
        argument, tokens = _operand(tokens, dot, scope)
        arguments.append(argument)
    if function is None:
        if arguments or piped:
            raise _wrong(f"can't give argument to non-function {name}")
        return value, tokens
    try:
        return function(*arguments, *piped), tokens
    except (TypeError, ValueError, LookupError) as e:
        raise _wrong(f"error calling {name}: {e}") from None


def _operand(tokens: Sequence[Token], dot: Any, scope: Scope) -> tuple[Any, Sequence[Token]]:
    (kind, text), tokens = tokens[0], tokens[1:]
    value: Any
    if kind == "string":
        value = _unquote(text)
    elif kind == "number":
        value = float(text) if "." in text else int(text)
    elif kind == "path":
        value = _field(dot, text)
    elif kind == "variable":
        if text not in scope:
            raise _wrong(f"undefined variable {text!r}")
        value = scope[text]
    elif text == "(":
        value, tokens = _pipeline(tokens, dot, scope)
        if not tokens or tokens[0][1] != ")":
            raise _wrong("unclosed left paren")
        tokens = tokens[1:]
    elif kind == "word" and text in _CONSTANTS:
        value = _CONSTANTS[text]
    elif kind == "word" and text in FUNCTIONS:
        return FUNCTIONS[text](), tokens
    else:
        raise _wrong(f"function {text!r} not defined" if kind == "word" else f"unexpected {text!r}")
    if tokens and tokens[0][0] == "path" and (kind == "variable" or text == "(") and tokens[0][1] != ".":
        value, tokens = _field(value, tokens[0][1]), tokens[1:]
    return value, tokens


_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "nil": None}


def _field(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        if isinstance(value, Mapping):
            key = name if name in value else _as_in_go(name, value)
            if key is None:
                raise _wrong(f'map has no entry for key "{name}"')
            value = value[key]
        elif value is None:
            raise _wrong(f"nil pointer evaluating {path}")
        else:
            raise _wrong(f"can't evaluate field {name} in type {type(value).__name__}")
    return value


def _as_in_go(name: str, fields: Mapping[Any, Any]) -> str | None:
    """Docker's templates call many a field otherwise than its JSON does: .ID is Id, .APIVersion is ApiVersion."""
    if not name[:1].isupper():
        return None
    return next(
        (key for key in fields if isinstance(key, str) and key.lower() == name.lower() and key[:1].isupper()), None
    )


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return iter(sorted(value.items()))
    if isinstance(value, int) and not isinstance(value, bool):
        return enumerate(range(value))
    if isinstance(value, list | tuple):
        return enumerate(value)
    raise _wrong(f"range can't iterate over {value}")


def _render(nodes: Sequence[_Node], dot: Any, scope: Scope) -> Iterator[str]:
    for node in nodes:
        yield from node.render(dot, scope)


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """(is an action, its text), with the trim marks applied."""
    at = 0
    trim = False
    for match in _ACTION.finditer(text):
        literal = text[at : match.start()]
        literal = literal.lstrip() if trim else literal
        literal = literal.rstrip() if match[1] else literal
        if literal:
            yield False, literal
        action = match[2].strip()
        if not (action.startswith("/*") and action.endswith("*/")):
            yield True, re.sub(r"^(\w+)\s+", r"\1 ", action)
        trim, at = bool(match[3]), match.end()
    rest = text[at:].lstrip() if trim else text[at:]
    if "{{" in rest:
        raise _wrong("unclosed action")
    if rest:
        yield False, rest


def _tokens(text: str) -> Iterator[Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if not match or match.lastgroup is None:
            raise _wrong(f"unexpected {text[at:].strip()[:20]!r} in {text!r}")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text[1:-1])


def _wrong(what: str) -> Failure:
    return Failure(f"template parsing error: {what}")
