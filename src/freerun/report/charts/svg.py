"""Draw a chart as one accessible inline SVG: curves, bands, levels, and a reading at every x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from freerun.report.charts.curves import Numbers, drawable_part, read_chart, reading, variants
from freerun.report.charts.legend import Line, define_hatches, draw_legend, hatch
from freerun.report.charts.marks import FONT, Point, dash, drawing, element, markers, path, shortened, text_width
from freerun.report.charts.scales import Axis, linear_axis, log2_axis
from freerun.report.numbers import format_number
from freerun.results.finding import Chart

WIDTH = 440
"""Of a drawing, in its own units. It scales with the page; text is laid out at the size that a phone needs."""
_INSET = 9.0
_MAX_READINGS = 32
"""Columns to point at: more would be too narrow for a finger, and all numbers are in the table."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Frame:
    """The plotting area of a chart inside a drawing of `width` × `height`, with its axes."""

    chart: Chart
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: Axis
    y: Axis

    def across(self, value: float) -> tuple[Point, Point]:
        """The ends of a line at the height of a value."""
        return (self.left, self.y.position(value)), (self.right, self.y.position(value))

    def points(self, *columns: Numbers) -> Iterator[list[tuple[float, ...]]]:
        """Yield the stretches in which all columns are known: index, position of x, and position of each value."""
        rows = zip(self.chart.x, *columns, strict=True)
        for known, stretch in groupby(enumerate(rows), key=lambda row: None not in row[1]):
            if known:
                yield [(i, self.x.position(x), *(self.y.position(y) for y in ys)) for i, (x, *ys) in stretch]


def draw_chart(chart: Mapping[str, Any], *, width: float = WIDTH, key: str | None = None) -> Markup:
    """Return `chart` (a `Chart` as it stands in result.json) as an inline SVG, `width` units wide.

    Colours come from the page's CSS variables (`--real`, `--free`, …); roles differ in dash and point shape too. Where
    a value is None the curve has a gap. `key` makes ids unique when a page holds the same chart twice.
    """
    plot = drawable_part(read_chart(chart))
    key = "".join(c if c.isascii() and c.isalnum() else "-" for c in key or plot.name)
    curves = variants(plot.series)
    legend, legend_height = draw_legend(curves, width, key)
    frame = _frame(plot, width, top=legend_height + 26.0)
    # the free curve, which the page is about, lies on top
    back_to_front = sorted(curves, key=lambda line: (line[0].role == "free", line[0].role == "real"))
    parts = [
        define_hatches(curves, key),
        legend,
        _grid(frame),
        *(_band(line, frame, key) for line in curves),
        *(element("path", d=path(frame.across(level)), class_="level") for level, _ in plot.levels),
        *(_line(line, frame) for line in back_to_front if not line[0].band_only),
        _level_labels(frame),
        _readings(frame),
    ]
    if not _any_value(plot):
        middle = (frame.top + frame.bottom) / 2
        parts.append(element("text", "no value could be computed", x=width / 2, y=middle, class_="empty"))
    return drawing(parts, width, frame.height, key, plot.title, describe(chart))


def describe(chart: Mapping[str, Any]) -> str:
    """Return in words what the chart shows, for those who cannot see it."""
    plot = drawable_part(read_chart(chart))
    words = [f"{plot.y_label} by {plot.x_label}."]
    for curve in plot.series:
        known = [i for i, y in enumerate(curve.y) if y is not None]
        if curve.band_only:
            words.append(f"{curve.name}: a band.")
        elif not known:
            words.append(f"{curve.name}: no values.")
        else:
            ends = [f"{format_number(curve.y[i])} at {format_number(plot.x[i])}" for i in (known[0], known[-1])]
            words.append(f"{curve.name}: {' to '.join(dict.fromkeys(ends))}.")
    return " ".join([*words, "All numbers stand in the table below."])


def _frame(plot: Chart, width: float, top: float) -> _Frame:
    bottom = top + (120.0 if not _any_value(plot) else 300.0 if width > 500 else 230.0)
    y = linear_axis(_y_extent(plot), start=bottom, end=top, n_ticks=5, snap=not plot.y_range)
    left = max(text_width(label, FONT) for _, label in (*y.ticks, (0, "0"))) + 12.0
    right = width - 16.0
    widest = max((text_width(format_number(x, digits=3), FONT) for x in plot.x[:1] + plot.x[-1:]), default=0.0)
    n_ticks = int((right - left) // (max(widest, 20.0) + 12))
    start, end = left + _INSET, right - _INSET
    if plot.x_scale == "log2":
        x = log2_axis(plot.x or (1.0, 2.0), start=start, end=end, n_ticks=n_ticks)
    else:
        whole = all(value == round(value) for value in plot.x)
        x = linear_axis(plot.x or (0.0, 1.0), start=start, end=end, n_ticks=min(n_ticks, 8), whole=whole)
    return _Frame(plot, width, bottom + 46.0, left, right, top, bottom, x, y)


def _y_extent(plot: Chart) -> list[float]:
    """Return what the y axis must hold; a given range cuts bands but never a curve or a level."""
    values: list[float | None] = [level for level, _ in plot.levels]
    for curve in plot.series:
        if not curve.band_only:
            values += curve.y
        if not plot.y_range:
            values += (curve.low or ()) + (curve.high or ())
    values += plot.y_range or ()
    return [value for value in values if value is not None] or [0.0, 1.0]


def _grid(frame: _Frame) -> Markup:
    baseline = frame.bottom
    rows = [(frame.y.position(value), label) for value, label in frame.y.ticks]
    columns = [(frame.x.position(value), label) for value, label in frame.x.ticks]
    grid = "".join(path(frame.across(value)) for value, _ in frame.y.ticks)
    axis = [
        ((frame.left, baseline), (frame.right, baseline)),
        *(((x, baseline), (x, baseline + 5)) for x, _ in columns),
    ]
    parts = [element("path", d=grid, class_="grid"), element("path", d="".join(map(path, axis)), class_="axis")]
    parts += [element("text", label, x=frame.left - 8, y=y + 4.5, class_="tick y") for y, label in rows]
    for x, label in columns:
        half = text_width(label, FONT) / 2
        at = min(max(x, half), frame.width - half)
        parts.append(element("text", label, x=at, y=baseline + 19, class_="tick x"))
    log = " (doubling scale)" if frame.chart.x_scale == "log2" else ""
    x_label = shortened(f"{frame.chart.x_label}{log}", FONT, frame.right - frame.left)
    y_label = shortened(frame.chart.y_label, FONT, frame.width - 4)
    parts.append(element("text", x_label, x=frame.right, y=baseline + 39, class_="name x"))
    parts.append(element("text", y_label, x=2, y=frame.top - 12, class_="name y"))
    return element("g", *parts, class_="axes")


def _band(line: Line, frame: _Frame, key: str) -> Markup:
    curve, variant = line
    if not curve.low or not curve.high:
        return Markup("")
    shapes = []
    for stretch in frame.points(curve.low, curve.high):
        if len(stretch) == 1:
            _, x, bottom, top = stretch[0]
            strokes = [[(x, top), (x, bottom)], *([(x - 4, end), (x + 4, end)] for end in (top, bottom))]
            shapes.append(element("path", d=" ".join(map(path, strokes)), class_="whisker"))
            continue
        upper, lower = (path((x, ends[end]) for _, x, *ends in stretch) for end in (1, 0))
        back = path((x, bottom) for _, x, bottom, _ in reversed(stretch))
        class_ = "area alone" if curve.band_only else "area"
        outline = f"{upper} {back[1:]}Z"
        shapes.append(element("path", d=outline, class_=class_, fill=hatch(key, curve, variant)))
        if curve.band_only:
            pattern = dash(curve.role, variant)
            shapes += [element("path", d=d, class_="edge", stroke_dasharray=pattern) for d in (upper, lower)]
    return element("g", *shapes, class_=f"role-{curve.role}")


def _line(line: Line, frame: _Frame) -> Markup:
    curve, variant = line
    every = 1 if len(curve.y) <= 16 else -(-len(curve.y) // 9)
    shapes: list[Markup] = []
    points: list[Point] = []
    for stretch in frame.points(curve.y):
        if len(stretch) > 1:
            d = path((x, y) for _, x, y in stretch)
            shapes.append(element("path", d=d, class_="curve", stroke_dasharray=dash(curve.role, variant)))
        points += [(x, y) for i, x, y in stretch if i % every == 0 or len(stretch) == 1]
    return element("g", *shapes, markers(curve.role, variant, points), class_=f"role-{curve.role}")


def _level_labels(frame: _Frame) -> Markup:
    """Write each level's label at that end and side of its line where it covers least of the curves."""
    samples = list(_curve_samples(frame))
    placed: list[Box] = []
    texts = []
    for level, label in frame.chart.levels:
        text = shortened(label, FONT, (frame.right - frame.left) / 2)
        width, height = text_width(text, FONT), frame.y.position(level)
        choices: list[tuple[int, Box, str]] = []
        for anchor, x0 in (("end", frame.right - 4 - width), ("start", frame.left + 6)):
            for baseline in (height - 5, height + 14):
                box = (x0, baseline - 12, x0 + width, baseline + 4)
                near = (box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2)
                covered = sum(_overlap(near, (x, y, x, y)) for x, y in samples) + 50 * sum(
                    _overlap(box, other) for other in placed
                )
                covered += 200 * (box[1] < frame.top - 14 or box[3] > frame.bottom)
                choices.append((covered, box, anchor))
        _, box, anchor = min(choices, key=lambda choice: choice[0])
        placed.append(box)
        texts.append(
            element("text", text, x=box[2 if anchor == "end" else 0], y=box[3] - 4, class_=f"level-label {anchor}")
        )
    return Markup("").join(texts)


def _curve_samples(frame: _Frame) -> Iterator[Point]:
    """Points of all curves, those across gaps included."""
    for curve in frame.chart.series:
        at = [] if curve.band_only else [(x, y) for stretch in frame.points(curve.y) for _, x, y in stretch]
        if at:
            xs, ys = zip(*at, strict=True)
            nth = np.linspace(0, len(at) - 1, 8 * len(at) - 7)
            yield from zip(np.interp(nth, range(len(at)), xs), np.interp(nth, range(len(at)), ys), strict=True)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _readings(frame: _Frame) -> Markup:
    """Lay invisible columns over the plot; pointing at one shades it and shows every curve's value there."""
    plot = frame.chart
    chosen = range(0, len(plot.x), -(-len(plot.x) // _MAX_READINGS) or 1)
    at = [frame.x.position(plot.x[i]) for i in chosen]
    edges = pairwise([frame.left, *(round((a + b) / 2) for a, b in pairwise(at)), frame.right])
    columns = []
    for i, (left, right) in zip(chosen, edges, strict=False):
        lines = [f"{plot.x_label}: {format_number(plot.x[i])}", *(f"{s.name}: {reading(s, i)}" for s in plot.series)]
        column = path([(left, frame.top), (right, frame.top), (right, frame.bottom), (left, frame.bottom)])
        columns.append(element("path", element("title", "\n".join(lines)), d=column))
    return element("g", *columns, class_="readings")


def _any_value(plot: Chart) -> bool:
    return any(v is not None for curve in plot.series for values in (curve.y, curve.low or ()) for v in values)
