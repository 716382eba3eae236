"""Read a chart from its plain dict: which curves it has, in the order of x, and the table of the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freerun.report.charts.marks import role_of
from freerun.report.charts.scales import drawable
from freerun.report.numbers import UNKNOWN, format_column, format_interval, format_number, join_interval

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """One series of a chart in the order of x; `variant` counts the curves of the same role before it."""

    name: str
    role: str
    variant: int
    y: Numbers
    low: Numbers | None
    high: Numbers | None
    band_only: bool

    def reading(self, i: int) -> str:
        """Return what the curve says at its i-th x, for example `0.71 (0.66 to 0.76)`."""
        interval = format_interval(self.low[i], self.high[i]) if self.low and self.high else ""
        if self.band_only:
            return interval or UNKNOWN
        value = format_number(self.y[i])
        return f"{value} ({interval})" if interval not in ("", UNKNOWN) else value


@dataclass(frozen=True)
class Plot:
    """What is drawn: x in ascending order and the curves over it."""

    x: tuple[float, ...]
    curves: tuple[Curve, ...]


def read_plot(chart: Mapping[str, Any]) -> Plot:
    """Read the curves of `chart`; x that its scale cannot hold are left out here (the table keeps them)."""
    scale = str(chart.get("x_scale") or "linear")
    x = [drawable(value, scale) for value in chart.get("x") or ()]
    order = sorted((i for i, value in enumerate(x) if value is not None), key=lambda i: x[i] or 0.0)
    seen: Counter[str] = Counter()
    curves = []
    for series in chart.get("series") or ():
        role = role_of(series.get("role"))
        y, low, high = (_ordered(series.get(key), order) for key in ("y", "low", "high"))
        curves.append(
            Curve(
                name=str(series.get("name") or role),
                role=role,
                variant=seen[role],
                y=y or (None,) * len(order),
                low=low if high else None,
                high=high if low else None,
                band_only=bool(series.get("band_only")),
            )
        )
        seen[role] += 1
    return Plot(tuple(value for i in order if (value := x[i]) is not None), tuple(curves))


def chart_table(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of all numbers of `chart`: `columns` and `rows` of printed cells."""
    n = len(chart.get("x") or ())
    columns, cells = [str(chart.get("x_label") or "x")], [[format_number(x) for x in chart.get("x") or ()]]
    for series in chart.get("series") or ():
        name = str(series.get("name") or role_of(series.get("role")))
        y, low, high = ([_at(series.get(key) or (), i) for i in range(n)] for key in ("y", "low", "high"))
        if not series.get("band_only"):
            columns.append(name)
            cells.append(format_column(y))
        if series.get("band_only") or (series.get("low") and series.get("high")):
            columns.append(f"{name}, interval")
            ends = format_column(low + high)
            cells.append([join_interval(*pair) for pair in zip(ends[:n], ends[n:], strict=True)])
    return {"columns": columns, "rows": [list(row) for row in zip(*cells, strict=True)]}


def runs(known: Sequence[bool]) -> Iterator[range]:
    """Yield the stretches of consecutive True.

    >>> list(runs([True, True, False, True]))
    [range(0, 2), range(3, 4)]
    """
    start = 0
    for i in range(len(known) + 1):
        if i == len(known) or not known[i]:
            if i > start:
                yield range(start, i)
            start = i + 1


def _ordered(values: Sequence[float | None] | None, order: Sequence[int]) -> Numbers | None:
    if not values:
        return None
    return tuple(drawable(_at(values, i)) for i in order)


def _at(values: Sequence[float | None], i: int) -> float | None:
    return values[i] if i < len(values) else None
