"""What every finding is made of: numbers with their licence, and curves with their intervals.

A finding is plain data: `to_json` of it is what stands in `result.json`, and the page is drawn from that file alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from freerun.results.horizons import Ends
from freerun.stats.intervals import Interval, has_no_width


@dataclass(frozen=True)
class Estimate:
    """One number: estimate and interval in `unit`, and what makes them valid.

    `value`, `low`, `high` are None where nothing can be said; `text` then says why (for example `"> 128"`).

    `degenerate`: every document, or every resample of them, says the same, so that an interval would have no width and say too much;
    then there is none. `ends`: of a horizon, where it and the ends of its interval lie in the lengths measured.
    """

    name: str
    label: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int | None = None
    independent_unit: str = "document"
    method: str = ""
    text: str = ""
    degenerate: bool = False
    ends: Ends | None = None

    @classmethod
    def of(
        cls,
        name: str,
        label: str,
        interval: Interval | None,
        unit: str,
        *,
        method: str = "",
        text: str = "",
        independent_unit: str = "document",
        ends: Ends | None = None,
    ) -> Estimate:
        """An interval as an estimate; None where nothing can be said, and `text` says why."""
        if interval is None:
            return cls(name, label, None, unit, independent_unit=independent_unit, method=method, text=text, ends=ends)
        value, low, high, level, n = astuple(interval)
        return cls(name, label, value, unit, low, high, level, n, independent_unit, method, text, ends=ends)

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and has_no_width(self.low, self.high):
            for name, value in (("degenerate", True), ("low", None), ("high", None)):
                object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Series:
    """One curve: `y` (None where unknown) over the chart's `x`, with an optional pointwise interval.

    `role` is one of `real`, `free`, `tempered`, `control`, `reference`, `other`: the page gives each its own colour.
    `band_only` draws the interval without the line.
    """

    name: str
    role: str
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    band_only: bool = False

    @classmethod
    def of(cls, name: str, role: str, intervals: Sequence[Interval | None], *, band_only: bool = False) -> Series:
        """A curve of estimates with their intervals; None where one is not known."""
        y, low, high = (tuple(known(getattr(i, end, None)) for i in intervals) for end in ("value", "low", "high"))
        return cls(name, role, y, low, high, band_only)

    @classmethod
    def curve(
        cls,
        name: str,
        role: str,
        y: Iterable[float],
        low: Iterable[float] | None = None,
        high: Iterable[float] | None = None,
    ) -> Series:
        """A curve from its values, with the ends of its interval where it has one; NaN where a value is not known."""
        line, lower, upper = (None if column is None else tuple(known(v) for v in column) for column in (y, low, high))
        return cls(name, role, line or (), lower, upper)


@dataclass(frozen=True)
class Chart:
    """A picture and, at once, the table under it."""

    name: str
    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    series: tuple[Series, ...]
    x_scale: str = "linear"
    """`linear` or `log2`."""
    y_range: tuple[float, float] | None = None
    levels: tuple[tuple[float, str], ...] = ()
    """Horizontal lines with a label each, for example `((0.5, "chance"),)`."""
    caption: str = ""


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    name: str
    question: str
    sentence: str
    status: str
    """`good`, `bad`, `neutral` or `unknown`: what the sentence says of the model or of the instrument."""
    estimates: tuple[Estimate, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    licence: str = ""
    """Null, independent unit, fixed-n or any-time, and what it assumes."""
    notes: tuple[str, ...] = ()
    refused: bool = False
    """Whether something was left out of it because own text is refused as evidence (`own_text` of the result says why)."""

    @classmethod
    def unknown(cls, name: str, question: str, why: str, *estimates: Estimate) -> Finding:
        """A question that these records do not answer."""
        return cls(name, question, why, "unknown", estimates, licence="No inference.")


@dataclass(frozen=True)
class Cell:
    """A number in a table: as it is printed, and as it is. `low` and `high`: its interval; None: not known, or no interval."""

    text: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Interval | None, digits: int, unit: str = "", *, sign: bool = False) -> Cell:
        """An estimate as `0.71 (0.66 to 0.76)`; a dash where there is none.

        >>> Cell.of(Interval(-0.5, -0.75, 0.25, 0.95, 9), 2).text
        '−0.50 (−0.75 to 0.25)'
        """
        if interval is None:
            return cls("–", None, unit)
        form = f"{'+' if sign else ''}.{digits}f"
        value, low, high = (printed(v, form) for v in (interval.value, interval.low, interval.high))
        return cls(f"{value} ({low} to {high})", known(interval.value), unit, known(interval.low), known(interval.high))

    @classmethod
    def between(cls, value: float, low: float | None, high: float | None, form: str, unit: str = "") -> Cell:
        """An estimate with an interval one end of which may be open; where both are, the number alone.

        >>> Cell.between(0.5, 0.25, None, ".2f").text
        '0.50 (0.25 to open)'
        """
        if low is None and high is None:
            return cls.number(value, form, unit)
        ends = ("open" if end is None else printed(end, form) for end in (low, high))
        return cls(f"{printed(value, form)} ({' to '.join(ends)})", known(value), unit, low, high)

    @classmethod
    def number(cls, value: float | None, form: str = "", unit: str = "") -> Cell:
        """A number without an interval, printed by a format such as `.3f`, `+.2f`, `,` or `.1%`; a dash where it is not known.

        >>> Cell.number(-1234.5, ",.1f").text, Cell.number(None).text
        ('−1,234.5', '–')
        """
        return cls("–" if value is None else printed(value, form), known(value), unit)


Row = tuple[str | Cell, ...]


@dataclass(frozen=True)
class Table:
    """A small table: words are strings, numbers are cells."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = ()


def printed(value: float, form: str) -> str:
    """A number by a format; what is printed as zero has no minus.

    >>> printed(-0.5, ".2f"), printed(-1e-9, "+.2f")
    ('−0.50', '+0.00')
    """
    text = f"{value:{form}}"
    if text.startswith("-") and not any(c in "123456789" for c in text.partition("e")[0]) and math.isfinite(value):
        text = f"{'+' if form.startswith('+') else ''}{text[1:]}"
    return text.replace("-", "−")


def with_limits(x: Interval, form: str) -> str:
    """An estimate with its interval; without one where all units say the same.

    >>> with_limits(Interval(0.5, 0.25, 0.75, 0.95, 9), ".2f"), with_limits(Interval(0.0, 0.0, 0.0, 0.95, 9), ".2f")
    ('0.50 (0.25 to 0.75)', '0.00')
    """
    value, low, high = (printed(v, form) for v in (x.value, x.low, x.high))
    return value if has_no_width(x.low, x.high) else f"{value} ({low} to {high})"


def known(value: float | None) -> float | None:
    """A number as results hold it: NaN and infinities are not known.

    >>> known(float("nan")), known(1)
    (None, 1.0)
    """
    return float(value) if value is not None and math.isfinite(value) else None


LEFT_OUT = {"left_out_where_none": True}
"""Metadata of a field that JSON does not have where it is None."""


def to_json(value: Any) -> Any:
    """Turn dataclasses, tuples and NumPy scalars into what JSON can hold; NaN and infinities become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        optional = {f.name for f in dataclasses.fields(value) if f.metadata == LEFT_OUT}
        return {k: to_json(v) for k, v in values.items() if v is not None or k not in optional}
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
