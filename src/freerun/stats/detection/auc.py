"""Area under the ROC curve: the chance that a positive scores above a negative, ties counted half."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import optimize, special, stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, percentile_tail


def auc(positive: Float[np.ndarray, " positives"], negative: Float[np.ndarray, " negatives"]) -> float:
    """Return the share of (positive, negative) pairs in which the positive scores higher, ties counted half.

    Raises DataError for an empty side or scores that are NaN.

    >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    return float(auc_rows(np.atleast_2d(positive), np.atleast_2d(negative))[0])


def auc_rows(
    positive: Float[np.ndarray, "rows positives"], negative: Float[np.ndarray, "rows negatives"]
) -> Float[np.ndarray, " rows"]:
    """Return `auc` row by row.

    Raises DataError for an empty side or scores that are NaN.
    """
    excess, _ = _rank_sums(positive, negative)
    return np.asarray(0.5 + excess / (positive.shape[1] * negative.shape[1]))


def mann_whitney_p_rows(
    positive: Float[np.ndarray, "rows positives"], negative: Float[np.ndarray, "rows negatives"]
) -> Float[np.ndarray, " rows"]:
    """Return the two-sided p-value of the Mann-Whitney test row by row: normal law with tie correction, no continuity correction.

    All scores must be independent, between the sides too. With every score tied the p-value is 1.

    Raises DataError for an empty side or scores that are NaN.
    """
    excess, sd = _rank_sums(positive, negative)
    z = np.divide(excess, sd, out=np.zeros_like(excess), where=sd > 0)
    return np.asarray(2.0 * special.ndtr(-np.abs(z)))


def weighted_auc(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"], weights: Real[np.ndarray, "resamples n"]
) -> Float[np.ndarray, " resamples"]:
    """Return the AUC of the same scores under many weightings; sorts once.

    A weight counts how often an item is there; whole numbers give exactly the AUC of the repeated items. NaN where a
    weighting leaves a side empty.

    Raises DataError for scores that are NaN.
    """
    _check_scores(scores)
    labels = np.asarray(labels, dtype=bool)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    positive = np.add.reduceat(np.where(labels[order], weights[:, order], 0).astype(np.float64), starts, axis=1)
    negative = np.add.reduceat(np.where(labels[order], 0, weights[:, order]).astype(np.float64), starts, axis=1)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    wins = (positive * below).sum(axis=1)
    return np.asarray(np.divide(wins, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))


def auc_interval(
    value: float, draws: Float[np.ndarray, " resamples"], *, level: float = 0.95, n_groups: int
) -> Interval:
    """Return the expanded percentile interval (Hesterberg 2015) of bootstrap draws of an AUC over groups.

    The scores are taken as fixed: what fitted the detector must not be among them. Resamples that leave a side empty are left out.
    Where all resamples agree (perfect separation) a bootstrap would give an interval of no width; then the limits are Newcombe's
    score limits (2006, method 5) with as many positives and negatives as there are groups.

    Raises TooFewDocuments where no resample held both sides.
    """
    tail = percentile_tail(n_groups, level)
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        raise TooFewDocuments(f"no resample of the {n_groups} documents held both real and generated text")
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    if low == high:
        low, high = (
            _newcombe_low(value, n_groups, level),
            1.0 - _newcombe_low(1.0 - value, n_groups, level),
        )
    return Interval(value, float(low), float(high), level, n_groups)


def _newcombe_low(value: float, n: int, level: float) -> float:
    if value <= 0.0:
        return 0.0
    z = float(special.ndtri(0.5 + level / 2.0))

    def short_of(theta: float) -> float:
        spread = 1.0 + (n - 1) * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta))
        return value - theta - z * float(np.sqrt(theta * (1.0 - theta) * spread)) / n

    return float(optimize.brentq(short_of, 0.0, value * (1.0 - 1e-12)))


def _rank_sums(
    positive: Float[np.ndarray, "rows positives"], negative: Float[np.ndarray, "rows negatives"]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return U minus its null mean, and its null standard deviation (the spread of the mid-ranks corrects for ties)."""
    n_positive, n_negative = positive.shape[1], negative.shape[1]
    if n_positive == 0 or n_negative == 0:
        raise DataError(f"an AUC needs both sides; there are {n_positive} positives and {n_negative} negatives")
    pooled = np.concatenate((positive, negative), axis=1)
    _check_scores(pooled)
    n = n_positive + n_negative
    centred = stats.rankdata(pooled, axis=1) - 0.5 * (n + 1)
    excess = centred[:, :n_positive].sum(axis=1)
    variance = n_positive * n_negative / (n * (n - 1)) * np.square(centred).sum(axis=1)
    return excess, np.sqrt(variance)


def _check_scores(scores: Float[np.ndarray, " ..."]) -> None:
    if np.isnan(scores).any():
        raise DataError("scores hold NaN; an AUC needs a number for every text")
