"""Draw lengths in tokens on one doubling scale, so that a newcomer sees whether a horizon is short or long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from freerun.report.charts.marks import FONT, drawing, element, markers, path, role_of, shortened, text_width
from freerun.report.charts.scales import Axis, drawable, log2_axis
from freerun.report.charts.svg import WIDTH
from freerun.report.numbers import format_interval, format_number

_ROW, _TOP, _BEYOND = 52.0, 46.0, 30.0
"""Height of a row, of what stands above the rows, and the room at the right end for what lies beyond the longest length."""


def draw_scale(yardsticks: Mapping[str, Any], *, key: str = "yardsticks") -> Markup:
    """Return the yardsticks' `scale` as an inline SVG: a point and its interval each, an open arrow for what lies beyond."""
    items: Sequence[Mapping[str, Any]] = yardsticks.get("scale") or ()
    left, right = 2.0, WIDTH - 2.0
    axis = _axis(yardsticks, items, left, right)
    bottom = _TOP + _ROW * len(items)
    parts = [_frame(axis, bottom, left, right)]
    for n, item in enumerate(items):
        words = _TOP + _ROW * n + 14
        parts += [_words(item, words), _row(item, axis, words + 22, right - 4)]
    description = " ".join(f"{item.get('label')}: {reading(item)}." for item in items)
    title = str(yardsticks.get("title") or "Yardsticks")
    return drawing(parts, WIDTH, bottom + 48, key, title, description, kind="chart scale")


def reading(item: Mapping[str, Any]) -> str:
    """Return what a yardstick says in words: its text, or its value, and the interval.

    >>> reading({"value": 23.0, "low": 15, "high": 31}), reading({"value": None, "text": "later than 128"})
    ('23 (15 to 31)', 'later than 128')
    """
    value, low, high = item.get("value"), item.get("low"), item.get("high")
    words = str(item.get("text") or format_number(value))
    if low is None and high is None:
        return words
    return f"{words} ({item.get('interval') or format_interval(low, high)})"


def _axis(yardsticks: Mapping[str, Any], items: Sequence[Mapping[str, Any]], left: float, right: float) -> Axis:
    ends = [drawable(item.get(name), "log2") for item in items for name in ("value", "low", "high")]
    largest = drawable(yardsticks.get("scale_max"), "log2") or max((end for end in ends if end), default=128.0)
    lowest = min(1.0, *(max(end, 1 / 16) for end in ends if end), largest / 2) if any(ends) else min(1.0, largest / 2)
    lowest = 2.0 ** math.floor(math.log2(lowest))
    return log2_axis(
        (lowest, largest), start=left + 14, end=right - _BEYOND, n_ticks=int((right - left - _BEYOND) // 34)
    )


def _frame(axis: Axis, bottom: float, left: float, right: float) -> Markup:
    half = (right - left) / 2
    low, high = (shortened(words, FONT, half) for words in ("← told apart sooner", "told apart later →"))
    beyond = axis.end + 8
    parts = [
        element("rect", x=beyond, y=_TOP - 4, width=right - beyond, height=bottom - _TOP + 4, class_="beyond"),
        element("text", low, x=left, y=14, class_="name x start"),
        element("text", high, x=right, y=14, class_="name x"),
    ]
    for value, label in axis.ticks:
        x = axis.position(value)
        parts.append(element("line", x1=x, x2=x, y1=_TOP - 4, y2=bottom, class_="grid"))
        parts.append(element("text", label, x=x, y=bottom + 19, class_="tick x"))
    parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    label = shortened("tokens (doubling scale)", FONT, right - left)
    parts.append(element("text", label, x=right, y=bottom + 40, class_="name x"))
    return element("g", *parts, class_="axes")


def _row(item: Mapping[str, Any], axis: Axis, y: float, edge: float) -> Markup:
    """Draw the interval and the point; what is beyond an end of the scale gets an open arrow there."""
    role = role_of(item.get("role"))
    value, low, high = (drawable(item.get(name), "log2") for name in ("value", "low", "high"))
    where = item.get("where", "inside")
    below = value is None and where == "before"
    above = (value is None and where == "beyond") or any(end and end > axis.high for end in (value, high))
    open_above = above or (low is not None and high is None and value is not None)
    start = axis.position(low) if low is not None else axis.position(value) if value else axis.end
    stop = edge if open_above else axis.position(high) if high is not None else start
    if below:
        start, stop, open_above = axis.start - 12, axis.position(high) if high else axis.start + 10, False
    strokes = []
    if open_above or below or low is not None or high is not None:
        strokes.append([(start, y), (stop, y)])
    if low is not None and not below:
        strokes.append([(start, y - 5), (start, y + 5)])
    if high is not None and not open_above:
        strokes.append([(stop, y - 5), (stop, y + 5)])
    if open_above or below:
        tip, back = (edge, -8) if open_above else (start, 8)
        strokes.append([(tip + back, y - 5), (tip, y), (tip + back, y + 5)])
    shapes = [element("path", d="".join(map(path, strokes)), class_="whisker")] if strokes else []
    if value is not None and value <= axis.high:
        shapes.append(markers(role, 0, [(axis.position(value), y)], 5.5))
    return element("g", *shapes, class_=f"role-{role}")


def _words(item: Mapping[str, Any], y: float) -> Markup:
    """Write the label and the reading above their row."""
    weight = " strong" if item.get("role") == "free" else ""
    words = shortened(reading(item), FONT, WIDTH * 0.45)
    label = shortened(str(item.get("label") or ""), FONT, WIDTH - text_width(words, FONT) - 14)
    return element(
        "g",
        element("text", label, x=2, y=y + 4.5, class_="entry" + weight),
        element("text", words, x=WIDTH - 2, y=y + 4.5, class_="entry end" + weight),
    )
