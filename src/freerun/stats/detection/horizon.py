"""The free-run horizon: the length at which a detector reaches a given AUC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError

Where = Literal["before", "inside", "beyond"]


@dataclass(frozen=True)
class End:
    """A place on the axis of lengths: a horizon, or an end of its interval.

    `where`: inside the lengths measured, before the shortest or beyond the longest. `tokens`: the place itself if inside, else the
    measured length that it lies before or beyond.
    """

    where: Where
    tokens: float

    @property
    def value(self) -> float | None:
        """In tokens if inside the lengths measured, else None."""
        return self.tokens if self.where == "inside" else None

    def is_below(self, tokens: float) -> bool:
        """Whether the place is known to be shorter than so many tokens."""
        return self.tokens < tokens if self.where == "inside" else self.where == "before" and self.tokens <= tokens

    def is_at_least(self, tokens: float) -> bool:
        """Whether the place is known to be so many tokens or more."""
        return self.where != "before" and self.tokens >= tokens


@dataclass(frozen=True)
class HorizonResult:
    """A horizon and the ends of its interval."""

    estimate: End
    low: End
    high: End
    level: float
    level_auc: float

    @property
    def value(self) -> float | None:
        """The horizon in tokens; None outside the lengths measured."""
        return self.estimate.value

    @property
    def low_tokens(self) -> float | None:
        """So many tokens at least; None where the interval is open below."""
        return None if self.low.where == "before" else self.low.tokens

    @property
    def high_tokens(self) -> float | None:
        """So many tokens at most; None where the interval is open above."""
        return None if self.high.where == "beyond" else self.high.tokens


def horizon(lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"], *, level_auc: float) -> End:
    """Return the length at which the AUC reaches `level_auc`: isotonic in length, linear in log length between points.

    Raises DataError unless lengths are positive and ascending and AUCs are numbers, one each.

    >>> horizon(np.array([16, 64]), np.array([0.5, 0.75]), level_auc=0.625)
    End(where='inside', tokens=32.0)
    """
    lengths, aucs = checked_curve(lengths, aucs)
    return _place(float(crossings(lengths, aucs[None], level_auc)[0]), lengths)


def horizon_interval(
    lengths: Real[np.ndarray, " lengths"],
    aucs: Float[np.ndarray, " lengths"],
    lows: Float[np.ndarray, " lengths"],
    highs: Float[np.ndarray, " lengths"],
    *,
    level_auc: float,
    level: float = 0.95,
) -> HorizonResult:
    """Return the crossing with the interval that the limits of the AUC at each length (at `level`) give it.

    The AUC rises with length. So the horizon is no shorter than where the upper limits first reach the level, and no longer
    than where the lower limits are above it for good; between two lengths limits are interpolated as the curve is. Going
    through the lengths in order until one is not settled needs no correction for their number (Maurer, Hothorn & Lehmacher
    1995).

    Raises DataError as `horizon` does.
    """
    estimate = horizon(lengths, aucs, level_auc=level_auc)
    lengths, lows = checked_curve(lengths, lows)
    _, highs = checked_curve(lengths, highs)
    reaching = np.flatnonzero(highs >= level_auc)  # not known to fall short of it
    short = np.flatnonzero(lows < level_auc)  # not known to reach it
    low, high = np.inf, 0.0
    if reaching.size:
        low = 0.0 if reaching[0] == 0 else _between(lengths, highs, int(reaching[0]), level_auc)
    if short.size:
        high = np.inf if short[-1] == lengths.size - 1 else _between(lengths, lows, int(short[-1]) + 1, level_auc)
    at = {"before": 0.0, "beyond": np.inf, "inside": estimate.tokens}[estimate.where]
    ends = _place(float(min(low, at)), lengths), _place(float(max(high, at)), lengths)
    return HorizonResult(estimate, *ends, level=level, level_auc=level_auc)


def _between(
    lengths: Float[np.ndarray, " lengths"], limits: Float[np.ndarray, " lengths"], i: int, level_auc: float
) -> float:
    """Where limits cross the level between lengths i − 1 and i, linear in log length."""
    share = (level_auc - limits[i - 1]) / (limits[i] - limits[i - 1])
    return float(2.0 ** (np.log2(lengths[i - 1]) * (1.0 - share) + np.log2(lengths[i]) * share))


def _place(crossing: float, lengths: Float[np.ndarray, " lengths"]) -> End:
    """A crossing as `crossings` gives it."""
    if crossing == 0.0:
        return End("before", float(lengths[0]))
    return End("beyond", float(lengths[-1])) if np.isinf(crossing) else End("inside", crossing)


def crossings(
    lengths: Float[np.ndarray, " lengths"], aucs: Float[np.ndarray, "rows lengths"], level_auc: float
) -> Float[np.ndarray, " rows"]:
    """Where each row's isotonic fit reaches the level, in tokens: 0 before the first length, infinity after the last."""
    m = lengths.size
    total = np.concatenate((np.zeros((len(aucs), 1)), np.cumsum(aucs, axis=1)), axis=1)
    start, stop = np.arange(m)[:, None], np.arange(m)[None, :]
    # isotonic regression as max over starts of the min over stops of the mean between them (Barlow et al. 1972)
    means = (total[:, 1:][:, None, :] - total[:, :-1][:, :, None]) / np.maximum(stop - start + 1, 1)
    means[:, (stop < start)] = np.inf
    lowest = np.minimum.accumulate(means[:, :, ::-1], axis=2)[:, :, ::-1]
    lowest[:, (stop < start)] = -np.inf
    rising = lowest.max(axis=1)
    reached = rising >= level_auc - 1e-12
    first = np.argmax(reached, axis=1)
    rows = np.arange(len(aucs))
    before = np.maximum(first - 1, 0)
    low, high = rising[rows, before], rising[rows, first]
    share = np.clip(np.divide(level_auc - low, high - low, out=np.ones_like(low), where=high > low), 0.0, 1.0)
    inside = 2.0 ** (np.log2(lengths[before]) * (1 - share) + np.log2(lengths[first]) * share)
    at_start = np.where(np.abs(rising[:, 0] - level_auc) <= 1e-12, lengths[0], 0.0)
    return np.asarray(np.where(~reached.any(axis=1), np.inf, np.where(first == 0, at_start, inside)))


def checked_curve(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"]
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, " lengths"]]:
    """Lengths and their AUCs as float64.

    Raises:
        DataError: sizes that differ, AUCs that are not finite, lengths that do not rise from above zero.
    """
    lengths, aucs = np.asarray(lengths, dtype=np.float64), np.asarray(aucs, dtype=np.float64)
    if lengths.size == 0 or lengths.shape != aucs.shape or not np.isfinite(aucs).all():
        raise DataError(f"{lengths.size} lengths and {aucs.size} AUCs; a horizon needs one number for every length")
    if lengths[0] <= 0 or (np.diff(lengths) <= 0).any():
        raise DataError(f"lengths are {lengths.tolist()}; they must be positive and ascending")
    return lengths, aucs
