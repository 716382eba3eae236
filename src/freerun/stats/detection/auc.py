"""Area under the ROC curve: the chance that a positive scores above a negative, ties counted half."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, t_quantile


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


@dataclass(frozen=True, eq=False)
class UnitAucs:
    """AUCs of one or several detectors on the same units, and how much each unit moves them.

    `influence` sums to zero over units: the variance of an AUC over units is Σ ψ²/(n(n − 1)) (DeLong et al. 1988; for units
    that hold several texts, Obuchowski 1997). What fitted the detectors is taken as given.
    `replicates`: as how many independent ones the generated texts of a unit count, between 1 (all alike) and their number.
    """

    auc: Float[np.ndarray, " detectors"]
    influence: Float[np.ndarray, "detectors units"]
    replicates: Float[np.ndarray, " detectors"]


def unit_aucs(real: Float[np.ndarray, "detectors units"], free: Float[np.ndarray, "detectors units reps"]) -> UnitAucs:
    """Return the AUC (generated above real) of each detector over all pairs of texts, with the influence of each unit.

    Raises DataError for no units or scores that are NaN.

    >>> found = unit_aucs(np.array([[1.0, 2.0]]), np.array([[[2.0], [3.0]]]))
    >>> found.auc.tolist(), found.influence.tolist()
    ([0.875], [[0.0, 0.0]])
    """
    if real.shape[1] == 0:
        raise DataError("an AUC needs both sides; there are no units")
    _check_scores(real)
    _check_scores(free)
    n_units, reps = free.shape[1:]
    parts, worth = [], []
    for mine, others in zip(real, free, strict=True):
        above = 1.0 - _share_below(others.ravel(), mine)  # of own texts, above each real one
        below = _share_below(mine, others.ravel()).reshape(n_units, reps)
        parts.append(above + below.mean(axis=1))
        each, together = float(below.var(axis=0).mean()), float(below.mean(axis=1).var())
        worth.append(min(float(reps), max(1.0, each / together)) if together > 0.0 else 1.0)
    influence = np.stack(parts)
    auc_of = 0.5 * influence.mean(axis=1)
    return UnitAucs(auc_of, influence - 2.0 * auc_of[:, None], np.array(worth))


def _share_below(
    sample: Float[np.ndarray, " sample"], places: Float[np.ndarray, " places"]
) -> Float[np.ndarray, " places"]:
    """Share of the sample below each place, ties counted half."""
    ordered = np.sort(sample)
    sides = np.searchsorted(ordered, places, side="left") + np.searchsorted(ordered, places, side="right")
    return np.asarray(sides / (2.0 * sample.size))


def auc_interval(
    value: float,
    variance: float,
    *,
    n_units: int,
    replicates: float = 1.0,
    real_replicates: float = 1.0,
    level: float = 0.95,
) -> Interval:
    """Return an AUC with score limits (Newcombe 2006, method 5) at the number of units that has this variance.

    Newcombe's limits keep to [0, 1] and have a width where all texts are told apart. They hold for independent texts; so the
    number of units is taken that gives them `variance`, and at most that of as many independent texts (the harmonic mean of
    both sides, `replicates` and `real_replicates` a unit): a small sample near 1 often looks surer than it is. Student's quantile
    takes the place of the normal one.

    Raises TooFewDocuments for fewer than two units.
    """
    if n_units < 2:
        raise TooFewDocuments(f"an AUC with interval needs at least 2 documents, there is {n_units}")
    most = 2.0 * n_units * replicates * real_replicates / (real_replicates + replicates)
    inside = min(max(value, 1e-9), 1.0 - 1e-9)
    effective = most
    if variance > _newcombe_variance(inside, most):
        least = 0.5
        effective = least
        if variance < _newcombe_variance(inside, least):
            effective = float(optimize.brentq(lambda n: _newcombe_variance(inside, n) - variance, least, most))
    quantile = t_quantile(n_units, level)
    low = _newcombe_low(value, effective, quantile)
    return Interval(value, low, 1.0 - _newcombe_low(1.0 - value, effective, quantile), level, n_units)


def _newcombe_variance(theta: float, n: float) -> float:
    spread = 1.0 + (n - 1.0) * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta))
    return theta * (1.0 - theta) * spread / (n * n)


def _newcombe_low(value: float, n: float, quantile: float) -> float:
    if value <= 0.0:
        return 0.0

    def short_of(theta: float) -> float:
        return value - theta - quantile * math.sqrt(max(_newcombe_variance(theta, n), 0.0))

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
