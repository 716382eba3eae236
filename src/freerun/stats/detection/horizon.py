"""The free-run horizon: the length at which a detector reaches a given AUC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError
from freerun.stats.detection.auc import auc_interval
from freerun.stats.detection.two_sample import unit_auc_draws
from freerun.stats.intervals import bootstrap_groups, percentile_tail

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
    """A horizon and the ends of its interval over resampled documents."""

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


def horizon_bootstrap(
    lengths: Real[np.ndarray, " lengths"],
    auc_draws: Float[np.ndarray, "resamples lengths"],
    aucs: Float[np.ndarray, " lengths"],
    *,
    level_auc: float,
    level: float = 0.95,
    n_units: int,
) -> HorizonResult:
    """Return the crossing with an interval from draws of the same resampled documents at all lengths.

    An expanded percentile interval of the crossing, widened to every measured length that the AUC's own interval does not settle. A
    crossing alone is settled too soon where the curve is flat: an isotonic fit is the largest of many means. So the upper end is at
    least the last length whose lower limit of the AUC does not reach the level, and the lower end at most the first one whose upper
    limit does. AUCs rise with length, so going through the lengths in order until one is not settled needs no correction for their
    number (Maurer, Hothorn & Lehmacher 1995). Where all resamples cross at one point, the ends are the settled lengths around it.

    The detectors are taken as fitted: the interval is about test documents, not about training.

    Raises DataError as `horizon` does.
    """
    estimate = horizon(lengths, aucs, level_auc=level_auc)
    lengths, aucs = checked_curve(lengths, aucs)
    auc_draws = np.asarray(auc_draws, dtype=np.float64)
    if auc_draws.size == 0 or auc_draws.shape[1] != lengths.size or not np.isfinite(auc_draws).all():
        raise DataError(
            f"auc_draws of shape {auc_draws.shape} must be numbers, one row a resample; for example 1000 of them"
        )
    tail = percentile_tail(n_units, level)
    values = crossings(lengths, auc_draws, level_auc)
    low = float(np.quantile(values, tail, method="inverted_cdf"))
    high = float(np.quantile(values, 1.0 - tail, method="inverted_cdf"))
    lows, highs = _auc_limits(aucs, auc_draws, level=level, n_units=n_units)
    short = np.flatnonzero(lows < level_auc)  # not known to reach the level
    reaching = np.flatnonzero(highs >= level_auc)  # not known to fall short of it
    if low == high and 0.0 < low < np.inf:
        low = 0.0 if reaching[0] == 0 else float(lengths[reaching[0] - 1])
        high = np.inf if short[-1] == lengths.size - 1 else float(lengths[short[-1] + 1])
    if short.size:
        high = np.inf if short[-1] == lengths.size - 1 else max(high, float(lengths[short[-1]]))
    if reaching.size:
        low = 0.0 if reaching[0] == 0 else min(low, float(lengths[reaching[0]]))
    return HorizonResult(estimate, _place(low, lengths), _place(high, lengths), level, level_auc)


def _auc_limits(
    aucs: Float[np.ndarray, " lengths"], draws: Float[np.ndarray, "resamples lengths"], *, level: float, n_units: int
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, " lengths"]]:
    """Limits of the AUC at each length. Where all resamples agree they are coarse; those of the neighbour are taken if narrower."""
    limits = [auc_interval(float(a), d, level=level, n_groups=n_units) for a, d in zip(aucs, draws.T, strict=True)]
    lows, highs = np.array([x.low for x in limits]), np.array([x.high for x in limits])
    agree = np.ptp(draws, axis=0) == 0.0
    for i in range(1, aucs.size):
        if agree[i] and aucs[i] >= aucs[i - 1]:
            lows[i] = max(lows[i], lows[i - 1])
    for i in range(aucs.size - 2, -1, -1):
        if agree[i] and aucs[i] <= aucs[i + 1]:
            highs[i] = min(highs[i], highs[i + 1])
    return lows, highs


def _place(crossing: float, lengths: Float[np.ndarray, " lengths"]) -> End:
    """A crossing as `crossings` gives it."""
    if crossing == 0.0:
        return End("before", float(lengths[0]))
    return End("beyond", float(lengths[-1])) if np.isinf(crossing) else End("inside", crossing)


def auc_draws(
    scores_real: Sequence[Float[np.ndarray, " units"]],
    scores_free: Sequence[Float[np.ndarray, "units reps"]],
    *,
    n_resamples: int = 1000,
    rng: np.random.Generator,
) -> Float[np.ndarray, "resamples lengths"]:
    """Resample test units with replacement and return the AUC at every length; one resample serves all lengths.

    Raises DataError unless all lengths have the same units, TooFewDocuments for fewer than two units.
    """
    sizes = {scores.shape[0] for scores in (*scores_real, *scores_free)}
    if len(sizes) != 1:
        raise DataError(
            f"the lengths have {sorted(sizes)} units; a joint bootstrap needs the same units at every length"
        )
    counts = bootstrap_groups(np.arange(sizes.pop()), n_resamples=n_resamples, rng=rng)
    columns = [unit_auc_draws(real, free, counts) for real, free in zip(scores_real, scores_free, strict=True)]
    return np.stack(columns, axis=1)


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
