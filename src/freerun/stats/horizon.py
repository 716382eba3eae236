"""The free-run horizon: the length at which a detector reaches a given AUC (METHODS 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real
from scipy import optimize

from freerun.errors import DataError
from freerun.stats.detectability import unit_auc_draws
from freerun.stats.intervals import bootstrap_groups, checked_level

Side = Literal["inside", "above", "below"]


@dataclass(frozen=True)
class Crossing:
    """Where the curve reaches the level: `value` in tokens if inside the lengths measured, else None.

    `side` "above" means later than the longest length, "below" before the shortest.
    """

    value: float | None
    side: Side


@dataclass(frozen=True)
class HorizonResult:
    """A crossing with its percentile interval over resampled documents, in tokens.

    `low` None: the interval is open below the shortest length. `high` None: it is open above the longest one.
    """

    value: float | None
    side: Side
    low: float | None
    high: float | None
    level: float
    level_auc: float
    n_resamples: int
    share_above: float
    share_below: float


def horizon(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"], *, level_auc: float
) -> Crossing:
    """Return the length at which the AUC reaches `level_auc`: isotonic in length, linear in log length between points.

    Raises DataError unless lengths are positive and ascending and AUCs are numbers, one each.

    >>> horizon(np.array([16, 64]), np.array([0.5, 0.75]), level_auc=0.625)
    Crossing(value=32.0, side='inside')
    """
    lengths, aucs = _checked(lengths, aucs)
    rising = np.asarray(optimize.isotonic_regression(aucs, increasing=True).x)
    reached = np.flatnonzero(rising >= level_auc)
    if reached.size == 0:
        return Crossing(None, "above")
    i = int(reached[0])
    if i == 0:
        return Crossing(float(lengths[0]), "inside") if rising[0] == level_auc else Crossing(None, "below")
    share = (level_auc - rising[i - 1]) / (rising[i] - rising[i - 1])
    return Crossing(float(2.0 ** (np.log2(lengths[i - 1]) * (1 - share) + np.log2(lengths[i]) * share)), "inside")


def horizon_bootstrap(
    lengths: Real[np.ndarray, " lengths"],
    auc_draws: Float[np.ndarray, "resamples lengths"],
    aucs: Float[np.ndarray, " lengths"],
    *,
    level_auc: float,
    level: float = 0.95,
) -> HorizonResult:
    """Return the crossing with an interval from draws made of the same resampled documents at all lengths.

    A limit that falls outside the lengths measured is open; if the whole interval does, its near end is the last (or
    first) length measured. The detectors are taken as fitted: the interval is about test documents, not about training.

    Raises DataError as `horizon` does.
    """
    crossing = horizon(lengths, aucs, level_auc=level_auc)
    tail = (1.0 - checked_level(level)) / 2.0
    found = [horizon(lengths, draw, level_auc=level_auc) for draw in auc_draws]
    ends = {"above": np.inf, "below": 0.0}
    values = np.array([ends.get(draw.side, draw.value) for draw in found], dtype=np.float64)
    if values.size == 0:
        raise DataError("auc_draws is empty; an interval needs resamples, for example 1000")
    low = float(np.quantile(values, tail, method="inverted_cdf"))
    high = float(np.quantile(values, 1.0 - tail, method="inverted_cdf"))
    return HorizonResult(
        value=crossing.value,
        side=crossing.side,
        low=None if low == 0.0 else min(low, float(lengths[-1])),
        high=None if np.isinf(high) else max(high, float(lengths[0])),
        level=level,
        level_auc=level_auc,
        n_resamples=values.size,
        share_above=float(np.mean(np.isinf(values))),
        share_below=float(np.mean(values == 0.0)),
    )


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


def _checked(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"]
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, " lengths"]]:
    lengths, aucs = np.asarray(lengths, dtype=np.float64), np.asarray(aucs, dtype=np.float64)
    if lengths.size == 0 or lengths.shape != aucs.shape or not np.isfinite(aucs).all():
        raise DataError(f"{lengths.size} lengths and {aucs.size} AUCs; a horizon needs one number for every length")
    if lengths[0] <= 0 or (np.diff(lengths) <= 0).any():
        raise DataError(f"lengths are {lengths.tolist()}; they must be positive and ascending")
    return lengths, aucs
