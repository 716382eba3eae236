"""Which curve is which: the legend above a chart, and the stripes of its second bands."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from freerun.report.charts.marks import FONT, dash, element, markers, shortened, text_width
from freerun.results.finding import Series

Line = tuple[Series, int]
"""A curve, and its number among those of its role."""


def draw_legend(curves: Sequence[Line], width: float, key: str) -> tuple[Markup, float]:
    """Return the legend, wrapped to `width`, and its height."""
    x, y, parts = 2.0, 14.0, []
    for curve, variant in curves:
        name = shortened(curve.name, FONT, width - 44)
        needed = 38 + text_width(name, FONT)
        if x > 2 and x + needed > width:
            x, y = 2.0, y + 21
        parts.append(_entry(curve, variant, name, x, y, key))
        x += needed + 18
    return element("g", *parts, class_="legend"), (y + 14 if parts else 0.0)


def _entry(curve: Series, variant: int, name: str, x: float, y: float, key: str) -> Markup:
    middle, pattern = y - 4.5, dash(curve.role, variant)
    stroke = {"x1": x, "x2": x + 30, "stroke_dasharray": pattern}
    if curve.band_only:
        fill, edges = hatch(key, curve, variant), (middle - 6, middle + 6)
        swatch = [element("rect", x=x, y=edges[0], width=30, height=12, class_="area alone", fill=fill)]
        swatch += [element("line", y1=edge, y2=edge, class_="edge", **stroke) for edge in edges]
    else:
        line = element("line", y1=middle, y2=middle, class_="curve", **stroke)
        swatch = [line, markers(curve.role, variant, [(x + 15, middle)])]
    text = element("text", name, x=x + 37, y=y, class_="entry")
    return element("g", *swatch, text, class_=f"role-{curve.role}")


def define_hatches(curves: Sequence[Line], key: str) -> Markup:
    """Define the stripes that tell a second band of the same role from the first."""
    patterns = [
        element(
            "pattern",
            element("line", x1=0, x2=0, y1=0, y2=6, class_="stripe"),
            id=_hatch_id(key, curve, variant),
            class_=f"role-{curve.role}",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)" if variant % 2 else "rotate(-45)",
        )
        for curve, variant in curves
        if variant and curve.low
    ]
    return element("defs", *patterns) if patterns else Markup("")


def hatch(key: str, curve: Series, variant: int) -> str | None:
    """Return what a band is filled with; the first of a role in the plain colour."""
    return f"url(#{_hatch_id(key, curve, variant)})" if variant else None


def _hatch_id(key: str, curve: Series, variant: int) -> str:
    return f"{key}-{curve.role}-{variant}"
