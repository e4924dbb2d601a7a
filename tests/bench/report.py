"""Samples to numbers: medians, spreads, ratios; as JSON for machines and as tables for people.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

Results = dict[str, dict[str, dict[str, list[list[float]]]]]
"""row → series → engine → rounds → samples"""


def add_round(results: Results, row: str, engine: str, series: Mapping[str, Sequence[float]]) -> None:
    for name, samples in series.items():
        results.setdefault(row, {}).setdefault(name, {}).setdefault(engine, []).append(list(samples))


def flatten(rounds: Iterable[Iterable[float]]) -> list[float]:
    return [sample for one in rounds for sample in one]


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    magnitude = abs(value)
    if magnitude >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def cell(rounds: Sequence[Sequence[float]]) -> str:
    """Median [lowest..highest] of all samples."""
    samples = flatten(rounds)
    if not samples:
        return "-"
    middle = number(statistics.median(samples))
    return middle if len(samples) == 1 else f"{middle} [{number(min(samples))}..{number(max(samples))}]"


def unit_of(units: Mapping[str, str], series: str) -> str:
    """The unit of a series: its own, that of the longest name it begins with, or ms."""
    if series in units:
        return units[series]
    begins = [key for key in units if key and key[0].isupper() and series.startswith(key)]
    return units[max(begins, key=len)] if begins else "ms"


def table(
    results: Results, titles: Mapping[str, str], units: Mapping[str, Mapping[str, str]], engines: Sequence[str]
) -> str:
    """A Markdown table; the ratio columns are hawse's median over the peer's, of the same run."""
    peers = [e for e in engines if e in ("docker", "podman")] if "hawse" in engines else []
    head = ["what", *engines, *(f"hawse/{peer}" for peer in peers)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, all_series in results.items():
        for series, by_engine in all_series.items():
            unit = unit_of(units.get(row, {}), series)
            what = titles.get(row, row) + (f": {series}" if series else "") + (f", {unit}" if unit else "")
            cells = [cell(by_engine.get(engine, [])) for engine in engines]
            lines.append("| " + " | ".join([what, *cells, *(ratio(by_engine, peer) for peer in peers)]) + " |")
    return "\n".join(lines)


def ratio(by_engine: Mapping[str, Sequence[Sequence[float]]], peer: str) -> str:
    mine, theirs = flatten(by_engine.get("hawse", [])), flatten(by_engine.get(peer, []))
    if not mine or not theirs or min(*mine, *theirs) < 0 or statistics.median(theirs) == 0:
        return "-"  # a difference, or nothing to compare with
    return f"{statistics.median(mine) / statistics.median(theirs):.2f}"


def summary(results: Results) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The same without the samples: row → series → engine → count, median, min, max, p95."""
    out: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for row, all_series in results.items():
        for series, by_engine in all_series.items():
            for engine, rounds in by_engine.items():
                samples = sorted(flatten(rounds))
                if samples:
                    out.setdefault(row, {}).setdefault(series, {})[engine] = {
                        "count": len(samples),
                        "median": round(statistics.median(samples), 3),
                        "min": round(samples[0], 3),
                        "p95": round(samples[int(0.95 * (len(samples) - 1))], 3),
                        "max": round(samples[-1], 3),
                    }
    return out
