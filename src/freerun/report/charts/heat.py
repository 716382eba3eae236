"""Power as a heat map: rows organism × length, columns metric, the number in every cell. One hue, darker where more is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from freerun.report.charts.marks import drawing, element, text_width
from freerun.results.power import PowerCell, PowerMetric, PowerOrganism, PowerResult

ROW, TOP, GAP, PADDING = 19.0, 118.0, 18.0, 8.0
LABEL_SIZE = 12.0
_FAINTEST, _DARKEST = 0.04, 0.56
"""Opacity of the hue at 0 and 1: text keeps a contrast above 4.5 on both, in light and in dark."""


def heat_map(
    result: PowerResult, *, texts: int, bases: Sequence[str] | None = None, cell: float = 42.0, key: str = "heat"
) -> Markup:
    """Draw the power of all metrics that are not controls with `texts` texts a side, the bases side by side."""
    bases = [b.name for b in result.bases] if bases is None else list(bases)
    rates = {(c.base, c.organism, c.metric, c.tokens): c for c in result.cells if c.texts == texts}
    columns = {b: _columns(result, rates, b) for b in bases}
    rows = [(o, t) for o in result.organisms for t in result.plan.lengths]
    left = max(text_width(o.label, LABEL_SIZE) for o in result.organisms) + 44.0
    heads = max((text_width(m.label, LABEL_SIZE) for c in columns.values() for m in c), default=0.0)
    lengths = len(result.plan.lengths)
    top = max(TOP, heads * 0.72 + 40.0)
    parts = [_row_labels(rows, left, top, lengths)]
    at = left
    for base in bases:
        parts.append(element("text", base, x=at + 1, y=13.0, class_="base"))
        for metric in columns[base]:
            x = at + cell / 2
            turn = f"translate({x + 3:.1f} {top - 6:.1f}) rotate(-48)"
            parts.append(element("text", metric.label, transform=turn, class_="name"))
            for i, (organism, tokens) in enumerate(rows):
                found = rates.get((base, organism.name, metric.name, tokens))
                parts.append(_cell(found, metric, organism, at, top + i * ROW, cell))
            at += cell
        at += GAP
    width, height = at - GAP + heads * 0.4 + PADDING, top + len(rows) * ROW + PADDING
    title = f"Share of reruns rejected at {result.plan.alpha:.0%}, {texts} texts a side"
    words = "Per cent, by organism and length (rows) and metric (columns). All numbers stand in the table."
    return drawing(parts, round(width), round(height), key, title, words, kind="heat", sized=True)


def _columns(result: PowerResult, rates: Mapping[tuple[str, str, str, int], PowerCell], base: str) -> list[PowerMetric]:
    there = {m for b, _, m, _ in rates if b == base}
    return [m for m in result.metrics if m.name in there and not m.control]


def _row_labels(rows: Sequence[tuple[PowerOrganism, int]], left: float, top: float, lengths: int) -> Markup:
    parts = [element("text", "tokens", x=left - 8, y=top - 6, class_="tokens")]
    for i, (organism, tokens) in enumerate(rows):
        y = top + i * ROW + ROW * 0.7
        if i % lengths == 0:
            parts.append(element("line", x1=0.0, x2=left - 4, y1=top + i * ROW, y2=top + i * ROW, class_="rule"))
            parts.append(element("text", organism.label, x=0.0, y=y, class_="organism"))
        parts.append(element("text", str(tokens), x=left - 8, y=y, class_="tokens"))
    return Markup("").join(parts)


def _cell(
    found: PowerCell | None, metric: PowerMetric, organism: PowerOrganism, x: float, y: float, width: float
) -> Markup:
    if found is None:
        return element("rect", x=x, y=y, width=width, height=ROW, class_="none")
    rate, class_ = found.rate, "cell" if found.inside else "cell outside"
    words = (
        f"{metric.label}, {organism.label} on {found.base}, {found.tokens} tokens, {found.texts} texts: "
        f"{rate:.1%} ({found.low:.1%} to {found.high:.1%}), {found.runs:,} reruns"
    )
    shade, null = f"{_FAINTEST + (_DARKEST - _FAINTEST) * rate:.3f}", organism.name == "null"
    return element(
        "g",
        element("title", words),
        element("rect", x=x, y=y, width=width, height=ROW, class_=class_, fill_opacity=shade),
        element("text", per_cent(rate, null=null), x=x + width / 2, y=y + ROW * 0.7, class_="rate"),
    )


def per_cent(rate: float, *, null: bool = False) -> str:
    """A share as per cent: whole, the null's with one decimal; no rounding up to 100 or down to 0.

    >>> per_cent(0.834), per_cent(0.052, null=True), per_cent(0.998), per_cent(1.0), per_cent(0.002), per_cent(0.0)
    ('83', '5.2', '>99', '100', '<1', '0')
    """
    if rate in (0.0, 1.0):
        return "0" if rate == 0.0 else "100"
    if null:
        return f"{100 * rate:.1f}"
    whole = round(100 * rate)
    return "<1" if whole == 0 else ">99" if whole == 100 else str(whole)
