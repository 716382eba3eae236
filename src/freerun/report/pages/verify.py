"""The single-file page of `freerun verify`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from freerun.report.numbers import format_interval
from freerun.report.pages.template import Page, badge


def render_verify(result: Mapping[str, Any]) -> str:
    """Return the page of a verification as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def _numeric(rows: Sequence[Sequence[object]]) -> set[int]:
    return {i for row in rows for i, cell in enumerate(row) if isinstance(cell, Mapping)}


_PAGE = Page(
    "verify.html.j2",
    {
        "badge": partial(badge, good=("✓", "Agrees"), bad=("≠", "Differs"), unknown=("?", "Not judged")),
        "status": badge,
        "numeric": _numeric,
        "interval": lambda estimate: format_interval(estimate.get("low"), estimate.get("high")),
    },
)
