"""The single-file page of a sweep, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.report.numbers import format_number
from freerun.report.pages.compare import chance, signed, strip
from freerun.report.pages.template import Page

SIGNS = {"falls": "↓", "grows": "↑", "none": "·"}
"""Sign of each outcome of a trend."""


def render_sweep(result: Mapping[str, Any]) -> str:
    """Return the page of a sweep as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def ends(estimate: Mapping[str, Any]) -> str:
    """Print the ends of an interval.

    >>> ends({"low": 0.5, "high": 0.75})
    '0.5 to 0.75'
    """
    return f"{format_number(estimate['low'], digits=3)} to {format_number(estimate['high'], digits=3)}"


_PAGE = Page(
    "sweep.html.j2",
    {"chance": chance, "ends": ends, "sign": SIGNS.__getitem__, "signed": signed, "strip": strip},
    css=("compare.css",),
)
