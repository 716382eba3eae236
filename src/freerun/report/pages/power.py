"""The single-file page of `freerun power`, drawn from its typed result and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from freerun.report.charts.heat import heat_map
from freerun.report.pages.template import Page, badge
from freerun.results.power import Expectation, PowerCell, PowerEffect, PowerResult


def render_power(result: PowerResult) -> str:
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
        labels={m.name: m.label for m in result.metrics},
        most=result.plan.texts[-1],
        longest=result.plan.lengths[-1],
        columns=list(dict.fromkeys(e.column for e in result.expectations)),
        expected=list(by_organism(result).items()),
        effects=effects(result),
    )


def percent(share: float, decimals: int = 0) -> str:
    """Print a share.

    >>> percent(0.05), percent(0.0341, 1)
    ('5%', '3.4%')
    """
    return f"{share:.{decimals}%}"


def by_organism(result: PowerResult) -> dict[str, list[Expectation]]:
    rows: dict[str, list[Expectation]] = {}
    for entry in result.expectations:
        rows.setdefault(entry.organism, []).append(entry)
    return rows


def effects(result: PowerResult) -> dict[tuple[str, str], PowerEffect]:
    longest = result.plan.lengths[-1]
    return {(e.base, e.organism): e for e in result.effects if e.tokens == longest}


@dataclass(frozen=True)
class RateRow:
    """A row of the table of all rates, a cell for every metric."""

    label: str
    tokens: int
    texts: int
    cells: tuple[str, ...]


def rate_rows(result: PowerResult, base: str) -> Iterator[RateRow]:
    """Rows of the table of all rates: one an organism, length and number of texts."""
    found = {(c.organism, c.tokens, c.texts, c.metric): c for c in result.cells if c.base == base}
    for organism in result.organisms:
        for tokens in result.plan.lengths:
            for texts in result.plan.texts:
                cells = [found.get((organism.name, tokens, texts, m.name)) for m in result.metrics]
                shown = tuple("" if c is None else with_interval(c) for c in cells)
                yield RateRow(organism.label, tokens, texts, shown)


def with_interval(cell: PowerCell) -> str:
    """A rate in per cent with its limits.

    >>> with_interval(PowerCell("words", "null", "z", 16, 20, rejected=166, runs=200, rate=0.83, low=0.771, high=0.8795))
    '83 (77–88)'
    """
    digits = 1 if cell.runs >= 1000 else 0
    value, low, high = (f"{100 * x:.{digits}f}" for x in (cell.rate, cell.low, cell.high))
    return f"{value} ({low}–{high})"
