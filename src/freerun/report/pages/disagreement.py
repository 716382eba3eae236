"""The single-file page of `freerun lab disagreement`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freerun.report.numbers import format_number
from freerun.report.pages.audit import FINDING_FILTERS
from freerun.report.pages.loops import value
from freerun.report.pages.template import Page, badge


def render_disagreement(result: Mapping[str, Any]) -> str:
    """Return the page of a run as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def _opening(findings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The chart that shows the outcome: the first of the finding that the sentence speaks of."""
    return next((chart for f in findings if f["name"] == "rise" for chart in f["charts"]), None)


_PAGE = Page(
    "disagreement.html.j2",
    {**FINDING_FILTERS, "badge": badge, "number": format_number, "value": value, "opening": _opening},
)
