"""The single-file page of `freerun power`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from freerun.report.charts.heat import heat_map
from freerun.report.pages.template import Page, badge

Result = Mapping[str, Any]


def render_power(result: Result) -> str:
    """Return the page of a power table as one HTML document that needs no network and no other file; all text is escaped."""
    filters: dict[str, Callable[..., Any]] = {
        "badge": partial(badge, good=("✓", "Every null rate in its band"), bad=("!", "A null rate outside its band")),
        "heat": lambda base, n: heat_map(result, texts=n, bases=[base], key=f"heat-{base}-{n}"),
        "percent": percent,
        "rates": partial(rate_rows, result),
    }
    page = Page("power.html.j2", filters, css=("power.css",))
    return page.render(
        result=result,
        labels={m["name"]: m["label"] for m in result["metrics"]},
        most=result["plan"]["texts"][-1],
        longest=result["plan"]["lengths"][-1],
        columns=list(dict.fromkeys(e["column"] for e in result["expectations"])),
        expected=list(by_organism(result).items()),
        effects=effects(result),
    )


def percent(share: float, decimals: int = 0) -> str:
    """Print a share.

    >>> percent(0.05), percent(0.0341, 1)
    ('5%', '3.4%')
    """
    return f"{share:.{decimals}%}"


def by_organism(result: Result) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for entry in result["expectations"]:
        rows.setdefault(entry["organism"], []).append(entry)
    return rows


def effects(result: Result) -> dict[tuple[str, str], Mapping[str, Any]]:
    longest = result["plan"]["lengths"][-1]
    return {(e["base"], e["organism"]): e for e in result["effects"] if e["tokens"] == longest}


def rate_rows(result: Result, base: str) -> Iterator[dict[str, Any]]:
    """Rows of the table of all rates: one an organism, length and number of texts."""
    found = {(c["organism"], c["tokens"], c["texts"], c["metric"]): c for c in result["cells"] if c["base"] == base}
    for organism in result["organisms"]:
        for tokens in result["plan"]["lengths"]:
            for texts in result["plan"]["texts"]:
                cells = [found.get((organism["name"], tokens, texts, m["name"])) for m in result["metrics"]]
                yield {
                    "label": organism["label"],
                    "tokens": tokens,
                    "texts": texts,
                    "cells": ["" if c is None else with_interval(c) for c in cells],
                }


def with_interval(cell: Mapping[str, Any]) -> str:
    """A rate in per cent with its limits.

    >>> with_interval({"rate": 0.83, "low": 0.771, "high": 0.8795, "runs": 200})
    '83 (77–88)'
    """
    digits = 1 if cell["runs"] >= 1000 else 0
    value, low, high = (f"{100 * cell[name]:.{digits}f}" for name in ("rate", "low", "high"))
    return f"{value} ({low}–{high})"
