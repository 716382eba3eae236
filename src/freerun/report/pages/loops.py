"""The single-file page of `freerun loops`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.report.numbers import format_interval, format_number
from freerun.report.pages.template import Page, badge


def render_loops(result: Mapping[str, Any]) -> str:
    """Return the page of a look for loops as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def value(estimate: Mapping[str, Any]) -> str:
    """Print an estimate with its interval.

    >>> value({"value": 0.25, "low": 0.1, "high": 0.5, "text": ""}), value({"value": None, "text": "no loop"})
    ('0.25 (0.1 to 0.5)', 'no loop')
    """
    if estimate["value"] is None:
        return str(estimate["text"]) or format_number(None)
    shown = format_number(float(estimate["value"]), digits=3)
    if estimate.get("low") is None and estimate.get("high") is None:
        return shown
    return f"{shown} ({format_interval(estimate['low'], estimate['high'], digits=2)})"


_PAGE = Page("loops.html.j2", {"badge": badge, "value": value})
