"""From values to positions: linear and log2 axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from freerun.report.numbers import fixed, format_number

LARGEST = 1e150
"""Beyond this a value cannot be drawn (sums of two would overflow); it is treated as not known."""
SMALLEST_LOG = 1e-100


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` laid on positions from `start` to `end`, with (value, label) ticks between."""

    scale: str
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]

    def position(self, value: float) -> float:
        """Return where `value` lies; values outside the axis are put at its nearer end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.scale == "log2":
            low, high, at = math.log2(low), math.log2(high), math.log2(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def drawable(value: object, scale: str = "linear") -> float | None:
    """Return `value` as a float that an axis can hold, or None."""
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not abs(value) < LARGEST or (scale == "log2" and value < SMALLEST_LOG):
        return None
    return float(value)


def linear_axis(
    values: Sequence[float], *, start: float, end: float, n_ticks: int, whole: bool = False, snap: bool = False
) -> Axis:
    """Lay out a linear axis over `values`; `whole` keeps ticks at integers, `snap` extends the ends to ticks."""
    low, high = _spread(values)
    step = _round_step((high - low) / max(n_ticks, 1), whole=whole)
    if snap:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        low, high = min(low, *values), max(high, *values)
    return Axis("linear", low, high, start, end, _round_ticks(low, high, step))


def log2_axis(values: Sequence[float], *, start: float, end: float, n_ticks: int) -> Axis:
    """Lay out a log2 axis over positive `values`, with ticks at those powers of two that are in range."""
    low, high = min(values), max(values)
    if high / low < 1.001:
        low, high = low / 2, high * 2
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    if last - first < 1:
        return Axis("log2", low, high, start, end, _round_ticks(low, high, _round_step((high - low) / 4)))
    stride = math.ceil((last - first + 1) / max(n_ticks, 2))
    ticks = tuple((2.0**e, _power_label(e)) for e in range(first, last + 1, stride))
    return Axis("log2", low, high, start, end, ticks)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low < max(1e-6 * size, 1e-12):
        pad = max(0.1 * size, 1e-9) if size else 1.0
        low, high = low - pad, high + pad
    return low, high


def _round_step(raw: float, *, whole: bool = False) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if raw <= m * power * (1 + 1e-9))
    return float(max(1, math.ceil(step - 1e-9))) if whole else step


def _round_ticks(low: float, high: float, step: float) -> tuple[tuple[float, str], ...]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((k * step, _tick_label(k * step, step)) for k in range(first, last + 1))


def _tick_label(value: float, step: float) -> str:
    if not 1e-5 <= step < 1e9 or abs(value) >= 1e12:
        return format_number(value, digits=8)
    decimals = next((d for d in range(7) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 7)
    return fixed(value, decimals)


def _power_label(exponent: int) -> str:
    if exponent > 40 or exponent < -10:
        return format_number(2.0**exponent)
    return f"{2**exponent:,}" if exponent >= 0 else f"1/{2**-exponent:,}"
