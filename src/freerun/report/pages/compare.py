"""The single-file page of `freerun compare`, drawn from its plain dict and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from markupsafe import Markup

from freerun.report.charts.marks import element, path
from freerun.report.numbers import MINUS, UNKNOWN, format_number
from freerun.report.pages.audit import FINDING_FILTERS
from freerun.report.pages.template import Page, badge

_STRIP_WIDTH, _STRIP_HEIGHT = 150.0, 18.0
_DOT_RADIUS, _DOT_ROOM = 3.6, 5.0
"""Of the dot, and what is kept free for it at both ends, its outline included."""
_REACH = 3.0
"""How many smallest detectable differences a strip shows on each side of zero."""


def render_compare(result: Mapping[str, Any]) -> str:
    """Return the page of a comparison as one HTML document that needs no network and no other file; all text is escaped."""
    return _PAGE.render(result=result)


def strip(d: Mapping[str, Any]) -> Markup:
    """Draw where a difference and its interval lie, in units of the smallest difference that is found with 80% power.

    The shaded middle is what would not have been found; an open interval goes to
    the edge, and a value beyond it is a pointer there. Empty where that unit is unknown.
    """
    unit, value = d.get("smallest_detectable"), d.get("value")
    if not unit or value is None:
        return Markup("")
    middle = _STRIP_WIDTH / 2

    def at(x: float) -> float:
        return float(middle + max(-_REACH, min(_REACH, x / unit)) * (middle - _DOT_ROOM) / _REACH)

    low = at(-1e9 if d.get("low") is None else d["low"])
    high = at(1e9 if d.get("high") is None else d["high"])
    y = _STRIP_HEIGHT / 2
    interval = f"{signed(d.get('low'))} to {signed(d.get('high'))}"
    words = f"{signed(value)}, interval {interval}; would be found from {format_number(unit)}"
    return element(
        "svg",
        element("title", words),
        element("rect", x=at(-unit), y=2.0, width=at(unit) - at(-unit), height=_STRIP_HEIGHT - 4, class_="blind"),
        element("line", x1=middle, x2=middle, y1=0.0, y2=_STRIP_HEIGHT, class_="zero"),
        element("line", x1=low, x2=high, y1=y, y2=y, class_="ends"),
        _mark(at(value), y, beyond=0 if abs(value) <= _REACH * unit else 1 if value > 0 else -1),
        viewBox=f"0 0 {_STRIP_WIDTH:.0f} {_STRIP_HEIGHT:.0f}",
        width=f"{_STRIP_WIDTH:.0f}",
        height=f"{_STRIP_HEIGHT:.0f}",
        role="img",
        class_="strip found" if d.get("found") else "strip",
    )


def _mark(x: float, y: float, *, beyond: int) -> Markup:
    """A dot, or a pointer to the side on which the value lies beyond the strip."""
    if not beyond:
        return element("circle", cx=x, cy=y, r=_DOT_RADIUS, class_="dot")
    tip, back, half = x + beyond * _DOT_RADIUS, x - beyond * _DOT_RADIUS, 4.5
    return element("path", d=path([(back, y - half), (tip, y), (back, y + half)]) + "Z", class_="dot beyond")


def signed(x: float | None) -> str:
    """Print a difference with its sign.

    >>> signed(0.25), signed(-3.0), signed(0.0), signed(None)
    ('+0.25', '−3', '0', 'open')
    """
    if x is None:
        return "open"
    text = format_number(float(x), digits=3)
    return text if text.startswith(MINUS) or x == 0 else f"+{text}"


def chance(p: float | None) -> str:
    """Print a p-value.

    >>> chance(0.0001), chance(0.0301), chance(None)
    ('< 0.001', '0.030', '–')
    """
    return UNKNOWN if p is None else "< 0.001" if p < 1e-3 else f"{p:.3f}"


_BADGE = partial(badge, bad=("≠", "Differs"), neutral=("·", "No difference found"))
_PAGE = Page(
    "compare.html.j2",
    {
        **FINDING_FILTERS,
        "badge": _BADGE,
        "number": format_number,
        "status": _BADGE,
        "chance": chance,
        "signed": signed,
        "strip": strip,
    },
    css=("compare.css",),
)
