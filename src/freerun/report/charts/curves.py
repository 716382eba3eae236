"""Read a chart from its JSON: what of it can be drawn, and the table of the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from freerun.report.charts.marks import role_of
from freerun.report.charts.scales import drawable
from freerun.report.numbers import UNKNOWN, format_column, format_interval, format_number, join_interval
from freerun.results.finding import Chart, Series

Numbers = tuple[float | None, ...]


def read_chart(chart: Mapping[str, Any]) -> Chart:
    """Return `chart`, as it stands in JSON, as a value: what is missing is empty, short columns are filled with None."""
    x = tuple(chart.get("x") or ())

    def column(values: Sequence[float | None] | None) -> Numbers:
        return tuple([*(values or ()), *[None] * len(x)][: len(x)])

    series = []
    for s in chart.get("series") or ():
        role = role_of(s.get("role"))
        name, banded = str(s.get("name") or role), bool(s.get("low") and s.get("high"))
        low, high = (column(s[end]) if banded else None for end in ("low", "high"))
        series.append(Series(name, role, column(s.get("y")), low, high, bool(s.get("band_only"))))
    return Chart(
        str(chart.get("name") or "chart"),
        str(chart.get("title") or "Chart"),
        str(chart.get("x_label") or "x"),
        str(chart.get("y_label") or "y"),
        x,
        tuple(series),
        str(chart.get("x_scale") or "linear"),
        chart.get("y_range"),
        tuple((value, str(label)) for value, label in chart.get("levels") or ()),
    )


def drawable_part(chart: Chart) -> Chart:
    """Return what an axis can hold: x in ascending order, and None for numbers that are none."""
    x = [drawable(value, chart.x_scale) for value in chart.x]
    order = sorted((i for i, value in enumerate(x) if value is not None), key=lambda i: x[i] or 0.0)

    def column(values: Numbers | None) -> Numbers | None:
        return None if values is None else tuple(drawable(values[i]) for i in order)

    low, high = map(drawable, chart.y_range or (None, None))
    return replace(
        chart,
        x=tuple(value for i in order if (value := x[i]) is not None),
        series=tuple(replace(s, y=column(s.y) or (), low=column(s.low), high=column(s.high)) for s in chart.series),
        y_range=None if low is None or high is None else (low, high),
        levels=tuple((value, label) for at, label in chart.levels if (value := drawable(at)) is not None),
    )


def variants(series: Sequence[Series]) -> list[tuple[Series, int]]:
    """Return each curve with the number of curves of the same role before it, which tells their looks apart."""
    seen: Counter[str] = Counter()
    out = []
    for s in series:
        out.append((s, seen[s.role]))
        seen[s.role] += 1
    return out


def reading(s: Series, i: int) -> str:
    """Return what a curve says at its i-th x, for example `0.71 (0.66 to 0.76)`."""
    interval = format_interval(s.low[i], s.high[i]) if s.low and s.high else ""
    if s.band_only:
        return interval or UNKNOWN
    value = format_number(s.y[i])
    return f"{value} ({interval})" if interval not in ("", UNKNOWN) else value


def chart_table(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of all numbers of `chart`: `columns` and `rows` of printed cells."""
    read = read_chart(chart)
    columns, cells = [read.x_label], [[format_number(x) for x in read.x]]
    for s in read.series:
        if not s.band_only:
            columns.append(s.name)
            cells.append(format_column(s.y))
        if s.low and s.high:
            columns.append(f"{s.name}, interval")
            ends = format_column(s.low + s.high)
            cells.append([join_interval(*pair) for pair in zip(ends[: len(s.y)], ends[len(s.y) :], strict=True)])
    return {"columns": columns, "rows": [list(row) for row in zip(*cells, strict=True)]}
