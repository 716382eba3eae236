"""Differences of ratios between runs that measured the same documents, with intervals over documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, mean_limits, skewness, transformed

_ROUNDING = 1e-12
"""Differences this small against the sums that they come from are those of rounding, and count as none."""


@dataclass(frozen=True)
class PairedDifference:
    """A difference (or contrast) with its t interval; `n` counts the documents of the smallest run.

    `p_value`: two-sided, null of no difference.
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    standard_error: float
    p_value: float

    @classmethod
    def of(
        cls, value: float, standard_error: float, n: int, *, skew: float = 0.0, level: float = 0.95
    ) -> PairedDifference:
        """What a t test with n − 1 degrees of freedom says of a value with this standard error, of documents with this skewness."""
        low, high = mean_limits(value, standard_error, skew, n, level=level)
        p_value = two_sided_p(value, standard_error, n, skew=skew)
        return cls(value, low, high, level, n, standard_error, p_value)

    @property
    def degenerate(self) -> bool:
        """Whether every document differs by the same: the interval has no width and says nothing."""
        return self.standard_error == 0.0

    @property
    def interval(self) -> Interval:
        """The estimate with its limits."""
        return Interval(self.value, self.low, self.high, self.level, self.n)


def contrast_of_ratios(
    tops: Float[np.ndarray, "runs documents"],
    bottoms: Float[np.ndarray, "runs documents"],
    weights: Float[np.ndarray, " runs"],
    *,
    level: float = 0.95,
) -> PairedDifference:
    """Return Σ_k w_k R_k, where R_k = Σ_i tops[k,i] / Σ_i bottoms[k,i], with a document-clustered t interval.

    Linearised (Cochran 1977, ch. 6; Binder 1983): document i moves the contrast by r_i = Σ_k w_k (tops[k,i] − R_k bottoms[k,i])
    / B_k, B_k = Σ_i bottoms[k,i], and the variance is n/(n−1) Σ r_i². What a document does in all runs stays together, so that
    documents that are hard for every run cancel. A document that a run lacks has zeros there; runs that share no document give
    the interval of independent samples. n is the number of documents of the run that has fewest: degrees of freedom n − 1.

    The p-value is that of the t test, never below 2^(1−n): n documents cannot say more than that all have the same sign.

    Raises TooFewDocuments for fewer than two documents in a run; DataError for values that are not finite, shapes that do not
    fit, or a run whose denominators sum to zero.

    >>> ones = np.ones((2, 3))
    >>> found = contrast_of_ratios(np.array([[1.0, 5.0, 9.0], [1.5, 5.7, 9.6]]), ones, np.array([-1.0, 1.0]))
    >>> round(found.value, 3), found.n, round(found.standard_error, 4)
    (0.6, 3, 0.0577)
    """
    if tops.shape != bottoms.shape or tops.shape[:1] != weights.shape:
        raise DataError(f"numerators {tops.shape}, denominators {bottoms.shape} and weights {weights.shape} do not fit")
    if not (np.isfinite(tops).all() and np.isfinite(bottoms).all() and np.isfinite(weights).all()):
        raise DataError("a difference of ratios got values that are not finite; drop or count such tokens first")
    counts = np.count_nonzero((bottoms != 0) | (tops != 0), axis=1)
    n = int(counts[weights != 0].min(initial=tops.shape[1]))
    if n < 2:
        raise TooFewDocuments(f"an interval over documents needs at least 2 documents in every run, one has {n}")
    totals = bottoms.sum(axis=1)
    if (totals == 0).any():
        raise DataError("a ratio of sums has denominators that sum to zero; there is nothing to divide by")
    ratios = tops.sum(axis=1) / totals
    residuals = ((weights / totals)[:, None] * (tops - ratios[:, None] * bottoms)).sum(axis=0)
    value = float(weights @ ratios)
    error = float(np.sqrt(n / (n - 1) * np.square(residuals).sum()))
    rounding = _ROUNDING * float(np.abs(weights / totals) @ np.abs(tops).sum(axis=1))
    value, error = _without_rounding(value, error, rounding, rounding)
    return PairedDifference.of(value, error, n, skew=skewness(residuals), level=level)


def contrast_of_estimates(
    estimates: Float[np.ndarray, " k"],
    covariance: Float[np.ndarray, "k k"],
    weights: Float[np.ndarray, " k"],
    n: int,
    *,
    level: float = 0.95,
) -> PairedDifference:
    """Return Σ_k w_k e_k of estimates with this covariance, from n documents, with a t interval of n − 1 degrees of freedom.

    Estimates that are one and the same cancel: what rounding leaves of their difference and of its variance counts as none.

    >>> alike = np.full((2, 2), 0.01)
    >>> contrast_of_estimates(np.array([0.7, 0.7 + 1e-16]), alike, np.array([-1.0, 1.0]), 20).p_value
    1.0
    """
    size = np.abs(weights)
    value = float(weights @ estimates)
    variance = max(float(weights @ covariance @ weights), 0.0)
    tops = _ROUNDING * float(size @ np.abs(estimates)), _ROUNDING * float(size @ np.abs(covariance) @ size)
    value, error = _without_rounding(value, float(np.sqrt(variance)), tops[0], float(np.sqrt(tops[1])))
    return PairedDifference.of(value, error, n, level=level)


def paired_difference(
    tops_a: Float[np.ndarray, " documents"],
    bottoms_a: Float[np.ndarray, " documents"],
    tops_b: Float[np.ndarray, " documents"],
    bottoms_b: Float[np.ndarray, " documents"],
    *,
    level: float = 0.95,
) -> PairedDifference:
    """Return ratio b minus ratio a over the same documents; see `contrast_of_ratios`, also for what it raises."""
    tops, bottoms = np.stack([tops_a, tops_b]), np.stack([bottoms_a, bottoms_b])
    return contrast_of_ratios(tops, bottoms, np.array([-1.0, 1.0]), level=level)


def slope_weights(x: Float[np.ndarray, " runs"]) -> Float[np.ndarray, " runs"]:
    """Return the weights whose contrast is the least-squares slope in `x`.

    Raises DataError for fewer than two different values.

    >>> slope_weights(np.array([0.0, 1.0, 2.0])).tolist()
    [-0.5, 0.0, 0.5]
    """
    centred = np.asarray(x, np.float64) - np.mean(x)
    spread = float(np.square(centred).sum())
    if not np.isfinite(spread) or spread == 0.0:
        raise DataError(f"x = {np.asarray(x).tolist()}: a slope needs at least two different numbers")
    return np.asarray(centred / spread)


def _without_rounding(
    value: float, error: float, rounding_of_value: float, rounding_of_error: float
) -> tuple[float, float]:
    """A difference and its standard error, zero where they are no more than rounding."""
    error = 0.0 if error <= rounding_of_error else error
    return 0.0 if error == 0.0 and abs(value) <= rounding_of_value else value, error


def two_sided_p(value: float, standard_error: float, n: int, *, skew: float = 0.0) -> float:
    """Return the p-value of a t test over n documents, at least 2^(1−n); 1 where nothing differs at all.

    The larger of Student's and that of the mean transformed for skewness, as `mean_limits` takes the wider limits.
    """
    if value == 0.0 or n < 2:
        return 1.0
    tail = 0.0
    if standard_error > 0.0:
        t = value / standard_error
        moved = transformed(t, skew, n)
        nearest = 0.0 if moved * t <= 0.0 else min(abs(moved), abs(t))
        tail = 2.0 * float(stats.t.sf(nearest, n - 1))
    return float(min(1.0, max(tail, 2.0 ** (1 - n))))
