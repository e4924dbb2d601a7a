"""Templates as Go's: fields, pipelines, functions, control, and errors instead of silent nothing."""

from __future__ import annotations

from typing import Any

import pytest

from hawse.cli.errors import Failure
from hawse.cli.show.template import Template

DATA: dict[str, Any] = {
    "ID": "abc",
    "Name": "/web",
    "State": {"Pid": 7, "Running": True, "Status": "running", "Error": ""},
    "Labels": {"a.b": "1", "c": "2"},
    "Args": ["x", "y"],
    "Ports": {"80/tcp": [{"HostPort": "8080"}], "443/tcp": None},
    "Empty": [],
    "None": None,
    "Label": lambda name: {"c": "2"}.get(name, ""),
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("{{.ID}}", "abc"),
        ("{{.Id}} {{.State.PID}}", "abc 7"),
        ("{{ .State.Pid }}-{{.ID}}", "7-abc"),
        ("{{json .Args}}", '["x","y"]'),
        ("{{.Args | json}}", '["x","y"]'),
        ("{{json .State.Running}}", "true"),
        ("{{.State.Running}}", "true"),
        ("{{.Args}}", "[x y]"),
        ("{{.Labels}}", "map[a.b:1 c:2]"),
        ("{{.None}}", "<no value>"),
        ('{{index .Labels "a.b"}}', "1"),
        ('{{index .Labels "missing"}}', ""),
        ("{{index .Args 1}}", "y"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{.Label "c"}}', "2"),
        ('{{join .Args ", "}}', "x, y"),
        ("{{.Name | upper}}", "/WEB"),
        ("{{upper .Name | lower}}", "/web"),
        ("{{len .Args}}", "2"),
        ('{{printf "%s:%d" .ID .State.Pid}}', "abc:7"),
        ('{{printf "%-5s|" .ID}}', "abc  |"),
        ('{{printf "%q" .ID}}', '"abc"'),
        ("{{println .ID}}", "abc\n"),
        ("{{slice .ID 0 2}}", "ab"),
        ("{{truncate .ID 1}}", "a"),
        ("{{range .Args}}<{{.}}>{{end}}", "<x><y>"),
        ("{{range $i, $v := .Args}}{{$i}}={{$v}} {{end}}", "0=x 1=y "),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a.b=1;c=2;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Args}}{{$.ID}}{{end}}", "abcabc"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{end}}", ""),
        ('{{if eq .State.Status "exited"}}a{{else if eq .State.Status "running"}}b{{else}}c{{end}}', "b"),
        ("{{if and .ID (not .Empty)}}yes{{end}}", "yes"),
        ("{{if or .Empty (gt .State.Pid 3)}}yes{{end}}", "yes"),
        ("{{with .State}}{{.Pid}}{{end}}", "7"),
        ("{{with .None}}x{{else}}y{{end}}", "y"),
        ("{{$x := .ID}}{{$x}}{{$x}}", "abcabc"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{`raw`}}", "raw"),
        (r'{{"a\tb"}}', "a\tb"),
        ("{{range $k, $v := .Ports}}{{$k}}{{range $v}}->{{.HostPort}}{{end}} {{end}}", "443/tcp 80/tcp->8080 "),
    ],
)
def test_rendering(text: str, shown: str) -> None:
    assert Template(text).render(DATA) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{.Missing}}", 'no entry for key "Missing"'),
        ("{{.ID.Deeper}}", "can't evaluate field Deeper"),
        ("{{.None.X}}", "nil pointer"),
        ("{{.ID", "unclosed action"),
        ("{{if .ID}}x", "if without"),
        ("{{end}}", "unexpected"),
        ("{{nonsense .ID}}", "function 'nonsense' not defined"),
        ("{{index .Args 9}}", "out of range"),
        ("{{$y}}", "undefined variable"),
        ("{{range .ID}}{{end}}", "can't iterate"),
        ("{{(.ID}}", "unclosed left paren"),
        ("{{.ID | }}", "missing value"),
        ('{{.ID "x"}}', "non-function"),
        ("{{join .ID}}", "error calling join"),
        ("{{%}}", "unexpected"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(Failure, match=said):
        Template(text).render(DATA)
