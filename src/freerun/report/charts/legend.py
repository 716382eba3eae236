"""Which curve is which: the legend above a chart, and the stripes of its second bands."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from freerun.report.charts.curves import Curve
from freerun.report.charts.marks import FONT, dash, element, marker, shortened, text_width


def draw_legend(curves: Sequence[Curve], width: float, key: str) -> tuple[Markup, float]:
    """Return the legend, wrapped to `width`, and its height."""
    x, y, parts = 2.0, 14.0, []
    for curve in curves:
        name = shortened(curve.name, FONT, width - 44)
        needed = 38 + text_width(name, FONT)
        if x > 2 and x + needed > width:
            x, y = 2.0, y + 21
        parts.append(_entry(curve, name, x, y, key))
        x += needed + 18
    return element("g", *parts, class_="legend"), (y + 14 if parts else 0.0)


def _entry(curve: Curve, name: str, x: float, y: float, key: str) -> Markup:
    middle, pattern = y - 4.5, dash(curve.role, curve.variant)
    if curve.band_only:
        fill = f"url(#{hatch_id(key, curve)})" if curve.variant else None
        swatch = [element("rect", x=x, y=middle - 6, width=30, height=12, class_="area alone", fill=fill)]
        for edge in (middle - 6, middle + 6):
            swatch.append(element("line", x1=x, x2=x + 30, y1=edge, y2=edge, class_="edge", stroke_dasharray=pattern))
    else:
        line = element("line", x1=x, x2=x + 30, y1=middle, y2=middle, class_="curve", stroke_dasharray=pattern)
        swatch = [line, marker(curve.role, curve.variant, x + 15, middle)]
    text = element("text", name, x=x + 37, y=y, class_="entry")
    return element("g", *swatch, text, class_=f"role-{curve.role}")


def define_hatches(curves: Sequence[Curve], key: str) -> Markup:
    """Define the stripes that tell a second band of the same role from the first."""
    patterns = []
    for curve in curves:
        if curve.variant and curve.low:
            turn = "rotate(45)" if curve.variant % 2 else "rotate(-45)"
            patterns.append(
                element(
                    "pattern",
                    element("line", x1=0, x2=0, y1=0, y2=6, class_="stripe"),
                    id=hatch_id(key, curve),
                    class_=f"role-{curve.role}",
                    width=6,
                    height=6,
                    patternUnits="userSpaceOnUse",
                    patternTransform=turn,
                )
            )
    return element("defs", *patterns) if patterns else Markup("")


def hatch_id(key: str, curve: Curve) -> str:
    return f"{key}-{curve.role}-{curve.variant}"
