"""Draw a chart as one accessible inline SVG: curves, bands, levels, and a reading at every x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from freerun.report.charts.curves import Curve, Plot, read_plot, runs
from freerun.report.charts.legend import define_hatches, draw_legend, hatch_id
from freerun.report.charts.marks import FONT, coordinate, dash, element, marker, shortened, text_width
from freerun.report.charts.scales import Axis, drawable, linear_axis, log2_axis
from freerun.report.numbers import format_number

WIDE, NARROW = 832, 344
"""Widths to draw for, in CSS pixels: text keeps its size, so a phone gets its own drawing, not a shrunken one."""
_INSET = 9.0
_MAX_READINGS = 64

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Frame:
    """The plotting area inside a drawing of `width` × `height`, with its axes."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: Axis
    y: Axis


def draw_chart(chart: Mapping[str, Any], *, width: float = WIDE, key: str | None = None) -> Markup:
    """Return `chart` (a `Chart` as it stands in result.json) as an inline SVG, `width` units wide.

    Colours come from the page's CSS variables (`--real`, `--free`, …); roles differ in dash and point shape too. Where
    a value is None the curve has a gap. `key` makes ids unique when a page holds the same chart twice.
    """
    key = key or str(chart.get("name") or "chart")
    key = "".join(c if c.isascii() and c.isalnum() else "-" for c in key)
    plot = read_plot(chart)
    legend, legend_height = draw_legend(plot.curves, width, key)
    frame = _frame(chart, plot, width, top=legend_height + 26.0)
    parts = [
        element("title", str(chart.get("title") or "Chart"), id=f"{key}-title"),
        element("desc", describe(chart), id=f"{key}-desc"),
        define_hatches(plot.curves, key),
        legend,
        _grid(frame, chart),
        *(_band(curve, plot.x, frame, key) for curve in plot.curves),
        _level_lines(chart, frame),
        *(_line(curve, plot.x, frame) for curve in _back_to_front(plot.curves) if not curve.band_only),
        _level_labels(chart, plot, frame),
        _readings(chart, plot, frame),
    ]
    if not _any_value(plot):
        middle = (frame.top + frame.bottom) / 2
        parts.append(element("text", "no value could be computed", x=width / 2, y=middle, class_="empty"))
    return element(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {coordinate(width)} {coordinate(frame.height)}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def describe(chart: Mapping[str, Any]) -> str:
    """Return in words what the chart shows, for those who cannot see it."""
    plot = read_plot(chart)
    said = [f"{chart.get('y_label') or 'y'} by {chart.get('x_label') or 'x'}."]
    for curve in plot.curves:
        known = [i for i, y in enumerate(curve.y) if y is not None]
        if curve.band_only:
            said.append(f"{curve.name}: a band.")
        elif not known:
            said.append(f"{curve.name}: no values.")
        else:
            ends = [f"{format_number(curve.y[i])} at {format_number(plot.x[i])}" for i in (known[0], known[-1])]
            said.append(f"{curve.name}: {' to '.join(dict.fromkeys(ends))}.")
    return " ".join([*said, "All numbers stand in the table below."])


def _frame(chart: Mapping[str, Any], plot: Plot, width: float, top: float) -> _Frame:
    plot_height = 120.0 if not _any_value(plot) else 300.0 if width > 500 else 230.0
    bottom = top + plot_height
    y = linear_axis(_y_extent(chart, plot), start=bottom, end=top, n_ticks=5, snap=not chart.get("y_range"))
    left = max(text_width(label, FONT) for _, label in (*y.ticks, (0, "0"))) + 12.0
    right = width - 16.0
    widest = max((text_width(format_number(x, digits=3), FONT) for x in plot.x[:1] + plot.x[-1:]), default=0.0)
    n_ticks = int((right - left) // (max(widest, 20.0) + 12))
    if chart.get("x_scale") == "log2":
        x = log2_axis(plot.x or (1.0, 2.0), start=left + _INSET, end=right - _INSET, n_ticks=n_ticks)
    else:
        whole = all(value == round(value) for value in plot.x)
        x = linear_axis(
            plot.x or (0.0, 1.0), start=left + _INSET, end=right - _INSET, n_ticks=min(n_ticks, 8), whole=whole
        )
    return _Frame(width, bottom + 46.0, left, right, top, bottom, x, y)


def _y_extent(chart: Mapping[str, Any], plot: Plot) -> list[float]:
    """Return what the y axis must hold; a given range cuts bands but never a curve or a level."""
    values: list[float | None] = [drawable(level) for level, _ in chart.get("levels") or ()]
    for curve in plot.curves:
        if not curve.band_only:
            values += curve.y
        if not chart.get("y_range"):
            values += (curve.low or ()) + (curve.high or ())
    values += [drawable(value) for value in chart.get("y_range") or ()]
    return [value for value in values if value is not None] or [0.0, 1.0]


def _grid(frame: _Frame, chart: Mapping[str, Any]) -> Markup:
    parts = []
    for value, label in frame.y.ticks:
        y = frame.y.position(value)
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="grid"))
        parts.append(element("text", label, x=frame.left - 8, y=y + 4.5, class_="tick y"))
    baseline = frame.bottom
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=baseline, y2=baseline, class_="axis"))
    for value, label in frame.x.ticks:
        x = frame.x.position(value)
        half = text_width(label, FONT) / 2
        parts.append(element("line", x1=x, x2=x, y1=baseline, y2=baseline + 5, class_="axis"))
        at = min(max(x, half), frame.width - half)
        parts.append(element("text", label, x=at, y=baseline + 19, class_="tick x"))
    log = " (doubling scale)" if chart.get("x_scale") == "log2" else ""
    x_label = shortened(f"{chart.get('x_label') or ''}{log}", FONT, frame.right - frame.left)
    y_label = shortened(str(chart.get("y_label") or ""), FONT, frame.width - 4)
    parts.append(element("text", x_label, x=frame.right, y=baseline + 39, class_="name x"))
    parts.append(element("text", y_label, x=2, y=frame.top - 12, class_="name y"))
    return element("g", *parts, class_="axes")


def _band(curve: Curve, xs: Sequence[float], frame: _Frame, key: str) -> Markup:
    low, high = curve.low, curve.high
    if not low or not high:
        return Markup("")
    fill = f"url(#{hatch_id(key, curve)})" if curve.variant else None
    class_ = "area alone" if curve.band_only else "area"
    shapes = []
    for run in runs([a is not None and b is not None for a, b in zip(low, high, strict=True)]):
        x = [frame.x.position(xs[i]) for i in run]
        tops = [frame.y.position(v) for i in run if (v := high[i]) is not None]
        bottoms = [frame.y.position(v) for i in run if (v := low[i]) is not None]
        if len(run) == 1:
            shapes.append(_whisker(x[0], tops[0], bottoms[0]))
            continue
        edge = _path(x, tops), _path(x, bottoms)
        outline = f"{edge[0]} L{_path(x[::-1], bottoms[::-1])[1:]} Z"
        shapes.append(element("path", d=outline, class_=class_, fill=fill))
        if curve.band_only:
            pattern = dash(curve.role, curve.variant)
            shapes += [element("path", d=d, class_="edge", stroke_dasharray=pattern) for d in edge]
    return element("g", *shapes, class_=f"role-{curve.role}")


def _whisker(x: float, top: float, bottom: float) -> Markup:
    strokes = f"M{_pair(x, top)} L{_pair(x, bottom)} M{_pair(x - 4, top)} L{_pair(x + 4, top)}"
    return element("path", d=f"{strokes} M{_pair(x - 4, bottom)} L{_pair(x + 4, bottom)}", class_="whisker")


def _line(curve: Curve, xs: Sequence[float], frame: _Frame) -> Markup:
    stretches = list(runs([y is not None for y in curve.y]))
    alone = {run[0] for run in stretches if len(run) == 1}
    every = 1 if len(xs) <= 24 else -(-len(xs) // 9)
    shapes, points = [], []
    for run in stretches:
        x = [frame.x.position(xs[i]) for i in run]
        y = [frame.y.position(v) for i in run if (v := curve.y[i]) is not None]
        if len(run) > 1:
            pattern = dash(curve.role, curve.variant)
            shapes.append(element("path", d=_path(x, y), class_="curve", stroke_dasharray=pattern))
        for i, px, py in zip(run, x, y, strict=True):
            if i % every == 0 or i in alone:
                points.append(marker(curve.role, curve.variant, px, py))
    return element("g", *shapes, *points, class_=f"role-{curve.role}")


def _back_to_front(curves: Sequence[Curve]) -> list[Curve]:
    """Order the curves so that the free one, which the page is about, lies on top."""
    return sorted(curves, key=lambda curve: (curve.role == "free", curve.role == "real"))


def _level_lines(chart: Mapping[str, Any], frame: _Frame) -> Markup:
    lines = []
    for value, _ in chart.get("levels") or ():
        if (level := drawable(value)) is not None:
            y = frame.y.position(level)
            lines.append(element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="level"))
    return Markup("").join(lines)


def _level_labels(chart: Mapping[str, Any], plot: Plot, frame: _Frame) -> Markup:
    """Write each level's label at that end and side of its line where it covers least of the curves."""
    samples = _curve_samples(plot, frame)
    placed: list[Box] = []
    texts = []
    for value, label in chart.get("levels") or ():
        if (level := drawable(value)) is None:
            continue
        text = shortened(str(label), FONT, (frame.right - frame.left) / 2)
        width, y = text_width(text, FONT), frame.y.position(level)
        choices: list[tuple[int, float, float, str]] = []
        for anchor, x0 in (("end", frame.right - 4 - width), ("start", frame.left + 6)):
            for baseline in (y - 5, y + 14):
                box = (x0, baseline - 12, x0 + width, baseline + 4)
                covered = sum(_inside(p, box) for p in samples) + 50 * sum(_overlap(box, other) for other in placed)
                covered += 200 * (box[1] < frame.top - 14 or box[3] > frame.bottom)
                choices.append((covered, x0, baseline, anchor))
        _, x0, baseline, anchor = min(choices, key=lambda choice: choice[0])
        placed.append((x0, baseline - 12, x0 + width, baseline + 4))
        x = x0 + width if anchor == "end" else x0
        texts.append(element("text", text, x=x, y=baseline, class_=f"level-label {anchor}"))
    return Markup("").join(texts)


def _curve_samples(plot: Plot, frame: _Frame) -> list[tuple[float, float]]:
    found = []
    for curve in plot.curves:
        at = [
            (frame.x.position(x), frame.y.position(y))
            for x, y in zip(plot.x, curve.y, strict=True)
            if y is not None and not curve.band_only
        ]
        found += at
        for (x0, y0), (x1, y1) in pairwise(at):
            found += [(x0 + (x1 - x0) * t / 8, y0 + (y1 - y0) * t / 8) for t in range(1, 8)]
    return found


def _inside(point: tuple[float, float], box: Box) -> bool:
    return box[0] - 4 <= point[0] <= box[2] + 4 and box[1] - 2 <= point[1] <= box[3] + 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _readings(chart: Mapping[str, Any], plot: Plot, frame: _Frame) -> Markup:
    """Lay invisible columns over the plot; pointing at one shows a guide line and every curve's value there."""
    stride = -(-len(plot.x) // _MAX_READINGS) or 1
    chosen = range(0, len(plot.x), stride)
    at = [frame.x.position(plot.x[i]) for i in chosen]
    edges = [frame.left, *((a + b) / 2 for a, b in pairwise(at)), frame.right]
    columns = []
    for n, i in enumerate(chosen):
        lines = [f"{chart.get('x_label') or 'x'}: {format_number(plot.x[i])}"]
        lines += [f"{curve.name}: {curve.reading(i)}" for curve in plot.curves]
        left, right = edges[n], edges[n + 1]
        columns.append(
            element(
                "g",
                element("line", x1=at[n], x2=at[n], y1=frame.top, y2=frame.bottom, class_="guide"),
                element("rect", x=left, y=frame.top, width=max(right - left, 0.0), height=frame.bottom - frame.top),
                element("title", "\n".join(lines)),
                class_="reading",
            )
        )
    return element("g", *columns, class_="readings")


def _any_value(plot: Plot) -> bool:
    return any(v is not None for curve in plot.curves for values in (curve.y, curve.low or ()) for v in values)


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + " L".join(_pair(x, y) for x, y in zip(xs, ys, strict=True))


def _pair(x: float, y: float) -> str:
    return f"{coordinate(x)} {coordinate(y)}"
