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
    """Say where a place outside the lengths measured lies; nothing for one inside.

    >>> [outside(End(*x)) for x in (("before", 1.0), ("before", 8.0), ("beyond", 128.0), ("inside", 17.0))]
    ['first token', '8 or sooner', 'later than 128', '']
    """
    if end.where == "before":
        return "first token" if end.tokens <= 1 else f"{end.tokens:.0f} or sooner"
    return f"later than {end.tokens:.0f}" if end.where == "beyond" else ""


def interval_words(h: HorizonResult) -> str:
    """The interval, as tables and cards have it.

    >>> interval_words(HorizonResult(End("inside", 17.0), End("inside", 8.0), End("beyond", 128.0), 0.95, 0.75))
    '8 to later than 128'
    """
    return interval_of(h.low, h.high)


def interval_of(low: End, high: End) -> str:
    """The interval between two places.

    >>> interval_of(End("before", 1.0), End("inside", 24.0)), interval_of(End("beyond", 128.0), End("beyond", 128.0))
    ('first token to 24', 'later than 128')
    """
    if low.where == high.where != "inside":
        return outside(low)
    return " to ".join(outside(end) or f"{end.tokens:.0f}" for end in (low, high))


def spoken(h: HorizonResult) -> str:
    """Where the horizon lies, for a sentence; an interval that does not end in the lengths measured is said to be wide.

    >>> spoken(HorizonResult(End("inside", 24.0), End("inside", 8.0), End("beyond", 64.0), 0.95, 0.75))
    'at about 24 tokens, perhaps only later than 64 (95% interval 8 to later than 64)'
    """
    interval = f"{h.level:.0%} interval {interval_words(h)}"
    late = f", perhaps only {outside(h.high)}" if h.estimate.where != "beyond" == h.high.where else ""
    tokens = counted(round(h.estimate.tokens), "token")
    at = {
        "beyond": f"at no length up to {tokens}",
        "before": "already at the first token" if h.estimate.tokens <= 1 else f"already at {tokens} or sooner",
        "inside": f"at about {tokens}",
    }[h.estimate.where]
    return f"{at}{late} ({interval})"


def at_least(low: End) -> str:
    """What a run that found no difference says of a horizon: the lower end of its interval, where that says anything.

    >>> [at_least(End(*x)) for x in (("inside", 22.0), ("beyond", 64.0), ("before", 1.0))]
    ['22 or later', 'later than 64', '']
    """
    return {"inside": f"{low.tokens:.0f} or later", "beyond": outside(low), "before": ""}[low.where]


def horizon_words(h: HorizonResult, *, detected: bool | None) -> str:
    """What a table says of a horizon, in tokens. It is where a difference is seen, so without one its number is none.

    `detected`: whether the run found a difference between own and real text; None where that was not judged.

    >>> h = HorizonResult(End("inside", 22.0), End("inside", 8.0), End("beyond", 64.0), 0.95, 0.75)
    >>> [horizon_words(h, detected=d) for d in (True, False, None)]
    ['22 (8 to later than 64)', 'no difference found (8 or later)', 'not judged']
    """
    if detected is None:
        return "not judged"
    if not detected:
        known = at_least(h.low)
        return f"no difference found{f' ({known})' if known else ''}"
    return f"{outside(h.estimate) or f'{h.estimate.tokens:.0f}'} ({interval_words(h)})"


@dataclass(frozen=True)
class HorizonSummary:
    """A horizon as comparisons carry it: in numbers, None outside the lengths measured, and as tables print it (`words`).

    `detected`: whether its run found a difference between own and real text; where not, the numbers are not a horizon of its own and
    stand for comparisons alone.
    """

    value: float | None
    low: float | None
    high: float | None
    text: str
    interval: str
    ends: Ends
    detected: bool | None
    words: str

    @classmethod
    def of(cls, h: HorizonResult, lengths: Int[np.ndarray, " lengths"], *, detected: bool | None) -> HorizonSummary:
        parts = outside(h.estimate), interval_words(h), ends_of(h, lengths), detected
        return cls(h.value, h.low_tokens, h.high_tokens, *parts, horizon_words(h, detected=detected))
