"""The benchmark's arithmetic: what a figure in docs/performance.md rests on."""

from __future__ import annotations

from tests.bench import report


def results() -> report.Results:
    found: report.Results = {}
    for _ in range(2):
        report.add_round(found, "run", "hawse", {"": [40.0, 44.0]})
        report.add_round(found, "run", "podman", {"": [200.0, 240.0]})
    report.add_round(found, "hundred", "hawse", {"start": [1.234], "PSS of shim x100": [28_500.0], "rules": [0.0]})
    return found


def test_a_ratio_is_that_of_the_medians_over_all_rounds() -> None:
    text = report.table(results(), {"run": "run --rm"}, {}, ["hawse", "podman"])
    assert "| run --rm, ms | 42 [40..44] | 220 [200..240] | 0.19 |" in text


def test_a_row_that_only_one_engine_has_has_no_ratio() -> None:
    text = report.table(results(), {}, {"hundred": {"start": "s", "PSS": "KiB", "rules": ""}}, ["hawse", "podman"])
    assert "| hundred: start, s | 1.23 | - | - |" in text
    assert "| hundred: PSS of shim x100, KiB | 28500 | - | - |" in text
    assert "| hundred: rules | 0 | - | - |" in text


def test_numbers_keep_three_digits() -> None:
    assert [report.number(v) for v in (0.123456, 1.5, 12.34, 123.4, 29876.5, 0.0)] == [
        *("0.12", "1.50", "12.3", "123", "29876", "0"),
    ]


def test_the_summary_names_the_worst_sample() -> None:
    found = report.summary(results())["run"][""]["podman"]
    assert found == {"count": 4, "median": 220.0, "min": 200.0, "p95": 240.0, "max": 240.0}
