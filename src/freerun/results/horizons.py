"""Horizons as result.json carries them, and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.stats.detection.horizon import End, HorizonResult, Where


@dataclass(frozen=True)
class Ends:
    """Where a horizon and the ends of its interval lie, in a range of measured lengths; gates are judged by these.

    `value`, `low`, `high`: `inside` (the number stands in the field of that name), `before` the first length or `beyond` the last.
    """

    first_tokens: int
    last_tokens: int
    value: Where
    low: Where
    high: Where


def ends_of(h: HorizonResult, lengths: Int[np.ndarray, " lengths"]) -> Ends:
    """The typed ends of a horizon measured at these lengths."""
    return Ends(int(lengths[0]), int(lengths[-1]), h.estimate.where, h.low.where, h.high.where)


def outside(end: End) -> str:
    """`< 1` or `> 128` for a place outside the lengths measured, nothing for one inside.

    >>> outside(End("beyond", 128.0)), outside(End("inside", 17.0))
    ('> 128', '')
    """
    sign = {"before": "< ", "beyond": "> ", "inside": ""}[end.where]
    return f"{sign}{end.tokens:.0f}" if sign else ""


def interval_words(h: HorizonResult) -> str:
    """The interval, as tables and cards have it.

    >>> interval_words(HorizonResult(End("inside", 17.0), End("inside", 8.0), End("beyond", 128.0), 0.95, 0.75))
    '8 to > 128'
    """
    if h.low.where == h.high.where != "inside":
        return f"wholly {outside(h.low)}"
    low, high = (outside(end) or f"{end.tokens:.0f}" for end in (h.low, h.high))
    return f"{low} to {high}"


def spoken(h: HorizonResult) -> str:
    """Where the horizon lies, for a sentence."""
    interval = f"{h.level:.0%} interval {interval_words(h)}"
    at = {
        "beyond": f"at no length up to {counted(round(h.estimate.tokens), 'token')}",
        "before": "already at the first token",
        "inside": f"at about {counted(round(h.estimate.tokens), 'token')}",
    }[h.estimate.where]
    return f"{at} ({interval})"


@dataclass(frozen=True)
class HorizonSummary:
    """A horizon as comparisons carry it: in numbers, None outside the lengths measured, and as tables print it."""

    value: float | None
    low: float | None
    high: float | None
    text: str
    interval: str
    ends: Ends

    @classmethod
    def of(cls, h: HorizonResult, lengths: Int[np.ndarray, " lengths"]) -> HorizonSummary:
        words = outside(h.estimate), interval_words(h)
        return cls(h.value, h.low_tokens, h.high_tokens, *words, ends_of(h, lengths))
