"""The single-file page of a run, drawn from the plain dict of its result.json and from nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2

from freerun.report.charts.yardsticks import draw_scale
from freerun.report.numbers import UNKNOWN, format_interval, format_number
from freerun.report.pages.plan_rows import machinery_rows, plan_rows
from freerun.report.pages.prediction import chance
from freerun.report.pages.template import Page, badge
from freerun.report.visible import visible_markup
from freerun.results.horizons import interval_of
from freerun.results.verdict import horizon_beside
from freerun.stats.detection.horizon import End

VERDICT_FINDING = "detectability"
"""What the verdict of an audit speaks of."""


def render_page(result: Mapping[str, Any], *, folder: str = "RUN") -> str:
    """Return the whole report of `result` as one HTML document that needs no network and no other file.

    `folder`: of the run, as one would type it, for the commands on the page.

    All text of the result is escaped; control and bidirectional characters in it are shown as signs. Keys that are
    missing leave their part out.
    """
    return _PAGE.render(
        result=result, run=shlex.quote(folder), findings=with_anchors(result.get("findings") or (), "finding")
    )


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


def _interval(estimate: Mapping[str, Any]) -> str:
    """The interval of an estimate; where an end of a horizon's lies outside the lengths measured, the words that say so."""
    ends = estimate.get("ends")
    if not ends or ends["low"] == ends["high"] == "inside":
        return format_interval(estimate.get("low"), estimate.get("high"))
    outer = {"before": ends["first_tokens"], "beyond": ends["last_tokens"]}
    places = (End(ends[name], float(outer.get(ends[name], estimate.get(name) or 0))) for name in ("low", "high"))
    return interval_of(*places)


def _methods(estimates: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the numbers are computed, each way once, in the order of the numbers."""
    return list(dict.fromkeys(e["method"] for e in estimates if e.get("method")))


def _cards(finding: Mapping[str, Any], headline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The headline numbers that answer a question; where there are none its first number that is known."""
    mine = [card for card in headline if card.get("finding") == finding.get("name")]
    if mine:
        return mine
    known = (e for e in finding.get("estimates") or () if isinstance(e.get("value"), (int, float)))
    e = next(known, None)
    if e is None:
        return []
    interval = format_interval(e.get("low"), e.get("high"))
    card = {
        "label": e.get("label") or e.get("name"),
        "value": format_number(e["value"], digits=3),
        "unit": e.get("unit"),
    }
    return [card | {"interval": "" if interval == UNKNOWN else interval}]


def _first_chart(findings: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The chart that stands on a first screen: the first of the first finding that has one."""
    return next((chart for f in findings for chart in f.get("charts") or ()), None)


FINDING_FILTERS: dict[str, Callable[..., Any]] = {
    "cards": _cards,
    "date": _date,
    "first_chart": _first_chart,
    "interval": _interval,
    "horizon_beside": horizon_beside,
    "label": lambda name: str(name).replace("_", " "),
    "methods": _methods,
    "model_text": lambda value: visible_markup(str(value if value is not None else "")),
    "number": _number,
    "numeric_columns": _numeric_columns,
    "status": badge,
}
"""What the macros of `finding.html.j2` need."""


def _picture(findings: Sequence[tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any] | None:
    """The chart that shows why the verdict is what it is: the first of the finding that the verdict speaks of."""
    charts = next((f.get("charts") for _, f in findings if f.get("name") == VERDICT_FINDING), None)
    if not charts:
        return None
    plain = {0.5: "guessing", 0.75: "3 in 4"}
    levels = [(y, plain.get(y, words)) for y, words in charts[0].get("levels") or ()]
    return {**charts[0], "y_label": "share of pairs in which the detector is right", "levels": levels}


def _start(text: object, characters: int) -> str:
    """The first characters of a text, with a sign where more follows."""
    whole = str(text or "")
    return whole if len(whole) <= characters else f"{whole[:characters]} …"


def _tail(text: object, characters: int) -> str:
    """The last characters of a text, with a sign where more went before."""
    whole = str(text or "")
    return whole if len(whole) <= characters else f"… {whole[-characters:]}"


_PAGE = Page(
    "page.html.j2",
    {
        **FINDING_FILTERS,
        "chance": chance,
        "picture": _picture,
        "start": _start,
        "tail": _tail,
        "drawn_scale": draw_scale,
        "machinery_rows": machinery_rows,
        "plan_rows": plan_rows,
    },
    script="page.js",
    undefined=jinja2.ChainableUndefined,
)
