"""The single-file page of a sweep, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from freerun.report.charts.curves import chart_table
from freerun.report.numbers import format_number
from freerun.report.pages.compare import chance, signed, strip
from freerun.report.pages.template import asset, drawn, environment, stylesheet

SIGNS = {"falls": "↓", "grows": "↑", "none": "·"}
"""Sign of each outcome of a trend."""


def render_sweep(result: Mapping[str, Any]) -> str:
    """Return the page of a sweep as one HTML document that needs no network and no other file; all text is escaped."""
    style = Markup(stylesheet() + asset("compare.css"))
    return _environment().get_template("sweep.html.j2").render(result=result, style=style)


def ends(estimate: Mapping[str, Any]) -> str:
    """Print the ends of an interval.

    >>> ends({"low": 0.5, "high": 0.75})
    '0.5 to 0.75'
    """
    return f"{format_number(estimate['low'], digits=3)} to {format_number(estimate['high'], digits=3)}"


def found(difference: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as `strip` draws it: told from zero where its adjusted p-value says so."""
    p = difference.get("adjusted_p")
    return {**difference, "found": p is not None and p <= 0.05}


@cache
def _environment() -> jinja2.Environment:
    return environment(
        {
            "chance": chance,
            "chart_table": chart_table,
            "drawn": drawn,
            "ends": ends,
            "found": found,
            "number": format_number,
            "sign": SIGNS.__getitem__,
            "signed": signed,
            "strip": strip,
        },
    )
