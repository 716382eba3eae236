"""The single-file page of a run, drawn from the plain dict of its result.json and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2

from freerun.report.charts.yardsticks import draw_scale
from freerun.report.numbers import format_interval, format_number
from freerun.report.pages.plan_rows import machinery_rows, plan_rows
from freerun.report.pages.template import Page, badge
from freerun.report.visible import visible_markup


def render_page(result: Mapping[str, Any]) -> str:
    """Return the whole report of `result` as one HTML document that needs no network and no other file.

    All text of the result is escaped; control and bidirectional characters in it are shown as signs. Keys that are
    missing leave their part out.
    """
    return _PAGE.render(result=result, findings=with_anchors(result.get("findings") or (), "finding"))


def _numeric_columns(rows: Sequence[Sequence[object]]) -> set[int]:
    """The columns that hold numbers: they are set flush right in tabular figures."""
    return {i for row in rows for i, cell in enumerate(row) if isinstance(cell, Mapping)}


def with_anchors(findings: Iterable[Mapping[str, Any]], prefix: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Pair each finding with an id for links: its name where that is unique."""
    taken: set[str] = set()
    pairs = []
    for n, finding in enumerate(findings, start=1):
        anchor = f"{prefix}-" + (re.sub(r"[^a-z0-9]+", "-", str(finding.get("name") or n).lower()).strip("-") or str(n))
        anchor = f"{anchor}-{n}" if anchor in taken else anchor
        taken.add(anchor)
        pairs.append((anchor, finding))
    return pairs


def _date(text: object) -> str:
    """Print an ISO time as `22 November 2026, 10:00 UTC`; anything else as it is."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def _number(value: object) -> str:
    return format_number(value if isinstance(value, (int, float)) else None)


FINDING_FILTERS: dict[str, Callable[..., Any]] = {
    "date": _date,
    "interval": lambda estimate: format_interval(estimate.get("low"), estimate.get("high")),
    "label": lambda name: str(name).replace("_", " "),
    "model_text": lambda value: visible_markup(str(value if value is not None else "")),
    "number": _number,
    "numeric_columns": _numeric_columns,
    "status": badge,
}
"""What the macros of `finding.html.j2` need."""
_PAGE = Page(
    "page.html.j2",
    {**FINDING_FILTERS, "drawn_scale": draw_scale, "machinery_rows": machinery_rows, "plan_rows": plan_rows},
    script="page.js",
    undefined=jinja2.ChainableUndefined,
)
