"""Reliability of the most probable token: is it right as often as the model says?

Bins hold equally many tokens. The squared calibration error of binned confidences is biased upwards by the variance of the
bin means; subtracting it gives Kumar, Liang & Ma 2019 (eq. 8), here with the variance clustered by document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, bootstrap_groups, cluster_ratio, group_index, linearised_ratio, t_quantile

MIN_GROUPS = 4
_TIE_DECIMALS = 9
"""Confidences that agree to so many are one, so that no bin's edge parts what only rounding tells apart."""


@dataclass(frozen=True)
class Reliability:
    """Accuracy by bin of confidence, and how far they lie apart.

    `confidence`: mean per bin. `accuracy`, `low`, `high`: with an interval clustered by group. `ece_plugin`: mean |accuracy -
    confidence| over tokens' bins, biased upwards. `squared_error`: debiased mean squared difference (may be below 0);
    `rms_error` is its root, 0 where it is below 0. `overconfidence`: mean confidence minus accuracy.
    """

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    share: Float[np.ndarray, " bins"]
    ece_plugin: float
    squared_error: Interval
    rms_error: Interval
    overconfidence: Interval
    n_tokens: int


def reliability(
    confidence: Float[np.ndarray, " tokens"],
    hit: Bool[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    *,
    n_bins: int = 15,
    n_resamples: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Reliability:
    """Return reliability of `confidence` (probability of the top token) against `hit` (whether it came).

    Bin edges are quantiles of the confidences and are held fixed in the bootstrap. The bootstrap over groups adds the
    variance of the bin means once more, so twice that variance is subtracted from its draws; near 0 the percentile
    interval is then too wide rather than too narrow. Fewer bins are used where confidences tie.

    Raises TooFewDocuments for fewer than 4 groups, DataError for confidences outside [0, 1].
    """
    if confidence.size == 0 or not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise DataError("confidences must be probabilities, at least one of them")
    index, n_groups = group_index(groups)
    if n_groups < MIN_GROUPS:
        raise TooFewDocuments(
            f"reliability over {counted(n_groups, 'document')}; an interval needs at least {MIN_GROUPS}"
        )
    tied = np.round(confidence, _TIE_DECIMALS)
    edges = np.unique(np.quantile(tied, np.linspace(0, 1, n_bins + 1)[1:-1]))
    place = np.searchsorted(edges, tied, side="left")
    bins, place = np.unique(place, return_inverse=True)
    k = bins.size
    at = index * k + place
    tokens = np.bincount(at, minlength=n_groups * k).reshape(n_groups, k).astype(np.float64)
    hits = np.bincount(at, weights=hit, minlength=n_groups * k).reshape(n_groups, k)
    sums = np.bincount(at, weights=confidence, minlength=n_groups * k).reshape(n_groups, k)
    share = tokens.sum(0) / tokens.sum()
    accuracy, error = linearised_ratio(hits.T, tokens.T)
    half = t_quantile(n_groups, level) * error
    gap, gap_error = linearised_ratio((sums - hits).T, tokens.T)
    squared = float(share @ (np.square(gap) - np.square(gap_error)))
    draws = _draws(sums - hits, tokens, bootstrap_groups(np.arange(n_groups), n_resamples=n_resamples, rng=rng))
    tail = (1 - level) / 2
    low, high = (min(squared, float(np.quantile(draws, tail))), max(squared, float(np.quantile(draws, 1 - tail))))
    return Reliability(
        confidence=sums.sum(0) / tokens.sum(0),
        accuracy=accuracy,
        low=np.maximum(accuracy - half, 0.0),
        high=np.minimum(accuracy + half, 1.0),
        share=share,
        ece_plugin=float(share @ np.abs(gap)),
        squared_error=Interval(squared, low, high, level, n_groups),
        rms_error=Interval(_root(squared), _root(low), _root(high), level, n_groups),
        overconfidence=cluster_ratio(confidence - hit, np.ones(confidence.size), index, level=level),
        n_tokens=confidence.size,
    )


def _draws(
    excess: Float[np.ndarray, "groups bins"],
    tokens: Float[np.ndarray, "groups bins"],
    counts: Int[np.ndarray, "resamples groups"],
) -> Float[np.ndarray, " resamples"]:
    """Debiased squared errors of resamples, each less the variance that resampling adds."""
    n_groups = len(tokens)
    total = counts @ tokens
    safe = np.maximum(total, 1.0)
    gap = counts @ excess / safe
    # sum over groups of count (excess - gap tokens)^2, multiplied out
    spread = counts @ np.square(excess) - 2 * gap * (counts @ (excess * tokens)) + np.square(gap) * (counts @ tokens**2)
    variance = n_groups / (n_groups - 1) * np.maximum(spread, 0.0) / np.square(safe)
    share = total / total.sum(axis=1, keepdims=True)
    return np.asarray((share * (np.square(gap) - 2 * variance)).sum(axis=1))


def _root(value: float) -> float:
    return float(np.sqrt(max(value, 0.0)))
