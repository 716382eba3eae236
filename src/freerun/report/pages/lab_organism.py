"""The single-file page of `freerun lab organism`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from freerun.report.pages.audit import FINDING_FILTERS
from freerun.report.pages.template import Page, badge


def render_lab_organism(result: Mapping[str, Any]) -> str:
    """Return the page of a trained organism as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def _opening(findings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The chart that shows the outcome: how many free runs are taken over."""
    return next((chart for f in findings if f["name"] == "take_over" for chart in f["charts"]), None)


_PAGE = Page(
    "lab_organism.html.j2",
    {
        **FINDING_FILTERS,
        "opening": _opening,
        "badge": partial(
            badge, good=("✓", "As the exact law"), bad=("≠", "Not as wanted"), neutral=("·", "Not quite the exact law")
        ),
    },
)
