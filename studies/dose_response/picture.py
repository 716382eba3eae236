"""The dose–response picture: free-run horizon against excess loss, both on log scales, over what the certificate excludes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from freerun.report.charts.marks import FONT, coordinate, element, markers, text_width
from freerun.report.charts.picture import WIDE, framed
from freerun.report.charts.scales import Axis
from freerun.report.numbers import format_number

LOOKS = {
    "absorbing ε": ("reference", 0),
    "temperature": ("tempered", 0),
    "n-gram": ("free", 0),
    "short window": ("real", 0),
    "rounded law": ("control", 0),
    "n-gram, python-docs": ("free", 1),
    "audited models": ("other", 1),
}
"""Colour and shape of each family; hollow where the excess is a lower bound."""
_LEFT, _RIGHT, _HEIGHT = 52.0, 14.0, 430.0
GAUSSIAN_NATS = 0.455
"""K at which a Gaussian log likelihood ratio has AUC 0.75: AUC = Φ(√K)."""


def dose_response_svg(result: Mapping[str, Any]) -> str:
    """Return the picture of a result of `studies/dose_response/run.py` as the text of an SVG file."""
    points = [p for p in result["points"] if p["excess_nats"] > 0]
    families = list(dict.fromkeys(p["family"] for p in points))
    legend, top = _legend(families)
    x, y = _axes(points, top)
    longest = {float(p["longest_tokens"]) for p in points if p["known"] == "exact"} or {
        float(points[0]["longest_tokens"])
    }
    parts = [
        element("title", "Free-run horizon H75 against excess loss", id="dose-title"),
        element("desc", _described(result), id="dose-desc"),
        legend,
        _grid(x, y),
        _excluded(result["certificate"]["nats"], max(longest), x, y),
        _gaussian(x, y),
        *(_end_of_lengths(n, x, y) for n in sorted(longest)),
        *(_best(p, x, y) for p in points),
        *(_point(p, x, y) for p in points),
    ]
    svg = element(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {WIDE} {coordinate(y.start + 46)}",
        role="img",
        aria_labelledby="dose-title dose-desc",
    )
    return framed(
        str(svg), "How long a model can run before its text is told apart, against what its loss has in excess"
    )


def _described(result: Mapping[str, Any]) -> str:
    said = [
        f"{p['family']}, {p['amount']}: {format_number(p['excess_nats'])} nats a token, H75 {_horizon(p)}"
        for p in result["points"]
    ]
    return "; ".join(said)


def _horizon(p: Mapping[str, Any]) -> str:
    if p["h75"] is None:
        return f"beyond {p['longest_tokens']}" if p["beyond"] else "before the first token"
    return f"{p['h75']:.3g} tokens"


def _axes(points: Sequence[Mapping[str, Any]], top: float) -> tuple[Axis, Axis]:
    bottom = top + _HEIGHT
    excess = [p["excess_nats"] for p in points]
    lengths = [float(p["longest_tokens"]) for p in points]
    return (
        _decades(min(excess) / 1.5, max(excess) * 1.6, _LEFT, WIDE - _RIGHT),
        _decades(0.7, max(lengths) * 1.8, bottom, top),
    )


def _decades(low: float, high: float, start: float, end: float) -> Axis:
    """A log axis with a tick at each power of ten, and at twos and fives where there are few of these."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    steps = (1.0,) if len(powers) > 3 else (1.0, 2.0, 5.0)
    ticks = [m * 10.0**e for e in range(powers.start - 1, powers.stop + 1) for m in steps]
    return Axis("log2", low, high, start, end, tuple((t, _tick(t)) for t in ticks if low <= t <= high))


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.6f}".rstrip("0")


def _grid(x: Axis, y: Axis) -> Markup:
    parts = []
    for value, label in y.ticks:
        at = y.position(value)
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        parts.append(element("text", label, x=x.start - 8, y=at + 4.5, class_="tick y"))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    for value, label in x.ticks:
        at = x.position(value)
        half = text_width(label, FONT) / 2
        parts.append(element("line", x1=at, x2=at, y1=y.start, y2=y.end, class_="grid"))
        parts.append(element("line", x1=at, x2=at, y1=y.start, y2=y.start + 5, class_="axis"))
        parts.append(element("text", label, x=min(max(at, half), WIDE - half), y=y.start + 19, class_="tick x"))
    parts.append(element("text", "excess loss, nats a token", x=x.end, y=y.start + 39, class_="name x"))
    parts.append(element("text", "free-run horizon H75, tokens", x=2.0, y=y.end - 12, class_="name y"))
    return element("g", *parts, class_="axes")


def _excluded(nats: float, longest: float, x: Axis, y: Axis) -> Markup:
    """The region under the certificate up to the longest length measured, where no model of that excess can lie, and its edge."""
    steps = 120
    xs = [x.low * (x.high / x.low) ** (i / steps) for i in range(steps + 1)]
    edge = [(x.position(v), y.position(min(nats / v, longest))) for v in xs]
    path = "M" + " L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in edge)
    floor = f" L{coordinate(x.end)} {coordinate(y.start)} L{coordinate(x.start)} {coordinate(y.start)} Z"
    return element(
        "g",
        element("path", d=path + floor, class_="beyond"),
        element("path", d=path, class_="axis", fill="none", stroke_width=1.75),
        element("text", "certificate: no model lies below", x=x.start + 12, y=y.start - 14, class_="name start"),
    )


def _gaussian(x: Axis, y: Axis) -> Markup:
    steps = 60
    xs = [x.low * (x.high / x.low) ** (i / steps) for i in range(steps + 1)]
    inside = [(x.position(v), y.position(GAUSSIAN_NATS / v)) for v in xs if y.low <= GAUSSIAN_NATS / v <= y.high]
    if len(inside) < 2:
        return Markup("")
    path = "M" + " L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in inside)
    return element("path", d=path, class_="level", fill="none")


def _end_of_lengths(tokens: float, x: Axis, y: Axis) -> Markup:
    at = y.position(tokens)
    label = f"longest measured on the world: {tokens:.0f}"
    return element(
        "g",
        element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="level"),
        element("text", label, x=x.start + 6, y=at - 18, class_="level-label"),
    )


def _best(p: Mapping[str, Any], x: Axis, y: Axis) -> Markup:
    """Where the likelihood ratio itself reaches AUC 0.75: a bar below the point, on a thin stem."""
    if p.get("best_h75") is None or not p.get("best_excess_nats"):
        return Markup("")
    at, low = x.position(p["best_excess_nats"]), y.position(p["best_h75"])
    top = y.position(p["h75"] or (p["longest_tokens"] if p["beyond"] else 1.0))
    role, _ = LOOKS.get(p["family"], ("other", 0))
    return element(
        "g",
        element("line", x1=x.position(p["excess_nats"]), y1=top, x2=at, y2=low, class_="edge"),
        element("line", x1=at - 5, x2=at + 5, y1=low, y2=low, class_="whisker"),
        class_=f"role-{role}",
    )


def _point(p: Mapping[str, Any], x: Axis, y: Axis) -> Markup:
    """The mark, its interval, and an arrow where it is only known to lie beyond what was measured."""
    role, variant = LOOKS.get(p["family"], ("other", 0))
    at, longest = x.position(p["excess_nats"]), float(p["longest_tokens"])
    middle = y.position(p["h75"] or (longest if p["beyond"] else 1.0))
    low = y.position(p["h75_low"] if p["h75_low"] is not None else y.low)
    high = y.position(p["h75_high"] if p["h75_high"] is not None else longest)
    parts = [element("title", _said(p)), element("line", x1=at, x2=at, y1=low, y2=high, class_="whisker")]
    if p["h75_high"] is None:
        parts.append(_arrow(at, y.position(longest), -1))
    elif p["h75_low"] is None:
        parts.append(_arrow(at, y.position(y.low), 1))
    if p["excess_low"] is not None and p["excess_high"] is not None:
        ends = [x.position(max(v, x.low)) for v in (p["excess_low"], p["excess_high"])]
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_="edge"))
    parts.append(markers(role, variant, [(at, middle)], 4.4))
    return element("g", *parts, class_=f"role-{role}")


def _arrow(x: float, y: float, way: int) -> Markup:
    tip = y + way * 13.0
    corners = ((x, y), (x, tip), (x - 4, tip - way * 6), (x, tip), (x + 4, tip - way * 6))
    path = " L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in corners)
    return element("path", d=f"M{path}", class_="whisker")


def _said(p: Mapping[str, Any]) -> str:
    least = "" if p["known"] == "exact" else "at least "
    best = ""
    if p.get("best_h75") is not None:
        best = f"\nbest detector: {p['best_h75']:.3g} tokens"
    return f"{p['family']}, {p['amount']}\nexcess: {least}{format_number(p['excess_nats'])} nats a token\nH75: {_horizon(p)}{best}"


def _legend(families: Sequence[str]) -> tuple[Markup, float]:
    """The families, then what the lines are; and the top of the plot."""
    x, y, parts = 2.0, 14.0, []
    for family in families:
        needed = 20 + text_width(family, FONT)
        if x > 2 and x + needed > WIDE:
            x, y = 2.0, y + 21
        role, variant = LOOKS.get(family, ("other", 0))
        parts.append(
            element(
                "g",
                markers(role, variant, [(x + 6, y - 4.5)], 4.4),
                element("text", family, x=x + 17, y=y),
                class_=f"role-{role}",
            )
        )
        x += needed + 18
    y += 21
    words = (
        "bar on a stem: the best detector there is · dotted: 0.455 nats in all, a Gaussian likelihood ratio · hollow: excess at "
        "least so much"
    )
    parts.append(element("text", words, x=2.0, y=y, class_="name start"))
    return element("g", *parts, class_="legend"), y + 40.0
