"""A proportion of clustered trials and a rate of clustered events, with intervals that also hold where few events are seen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Real, Shaped
from scipy import special

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import (
    Interval,
    checked_level,
    group_index,
    linearised_ratio,
    poisson_high,
    t_quantile,
)


def clustered_proportion(
    events: Shaped[np.ndarray, " items"],
    trials: Real[np.ndarray, " items"],
    groups: Int[np.ndarray, " items"],
    *,
    level: float = 0.95,
    masses: bool = False,
) -> Interval:
    """Return sum of events / sum of trials with Korn & Graubard's interval: Clopper-Pearson's at the effective number of trials.

    An item is a sequence: `trials` tokens at risk, `events` among them; items of one group (document) may depend on each
    other in any way. Effective trials are those whose binomial variance is the clustered, linearised variance, times
    (z/t)^2 for the degrees of freedom, and at most the trials. With `masses`, `events` are sums of probabilities, one a
    trial (Rao-Blackwell): they vary less than counts, and the effective trials may exceed the trials.

    Where no event is seen (or nothing else) there is no variance to take: all items of a group then count as one. `n`
    counts the groups that have trials.

    Source: Korn & Graubard 1998, Survey Methodology 24:193. Raises TooFewDocuments for fewer than two groups with trials,
    DataError for events outside [0, trials].

    >>> found = clustered_proportion(np.array([1, 0, 1, 0]), np.full(4, 10), np.arange(4))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.05, 0.002, 0.238)
    """
    events, trials = np.asarray(events, np.float64), np.asarray(trials, np.float64)
    index, n_groups = group_index(groups)
    if not (np.isfinite(events).all() and (events >= 0).all() and (events <= trials * (1 + 1e-9)).all()):
        raise DataError("events must lie between 0 and their trials; a proportion has no other")
    bottoms = np.bincount(index, weights=trials, minlength=n_groups)
    tops = np.bincount(index, weights=events, minlength=n_groups)
    present = bottoms > 0
    n = int(present.sum())
    if n < 2:
        raise TooFewDocuments(f"a proportion with interval needs at least 2 documents with trials, there is {n}")
    total, alpha = float(bottoms.sum()), (1.0 - checked_level(level)) / 2.0
    value = min(float(tops.sum()) / total, 1.0)
    if not 0.0 < value < 1.0:
        most = int(np.bincount(index[trials > 0]).max())
        effective = total / most
    else:
        error = float(linearised_ratio(tops[None, present], bottoms[None, present])[1][0])
        # relative to the value: rounding alone leaves about 1e-16, where every group has the same proportion
        if error <= 1e-12 * value:
            return Interval(value, value, value, level, n) if masses else _at(value, total, alpha, level, n)
        effective = _effective(value * (1.0 - value), error, n, level)
        effective = effective if masses else min(effective, total)
    return _at(value, effective, alpha, level, n)


def proportion_limits(value: float, error: float, trials: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper-Pearson limits at the trials that this standard error stands for, at most `trials`; n groups gave the error.

    Where the value is 0 or 1 there is no error to take, and `trials` are taken as they are.
    """
    effective = float(trials)
    if 0.0 < value < 1.0 and error > 0.0:
        effective = min(effective, _effective(value * (1.0 - value), error, n, level))
    interval = _at(value, effective, (1.0 - checked_level(level)) / 2.0, level, n)
    return interval.low, interval.high


def clustered_rate(
    events: Real[np.ndarray, " groups"], expected: Float[np.ndarray, " groups"], *, level: float = 0.95
) -> Interval:
    """Return sum of events / sum of expected ones with Garwood's Poisson limits at the effective number of events.

    Sums stand one a group; groups are independent, what happens in one may be dependent in any way. Effective events are those
    whose Poisson variance is the clustered, linearised one, times (z/t)^2, and at most the events: as Korn & Graubard do for
    proportions. Where no event is seen there is no variance to take.

    Source: Garwood 1936. Raises TooFewDocuments for fewer than two groups, DataError where nothing is expected.

    >>> found = clustered_rate(np.array([1, 0, 2, 1]), np.ones(4))
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (1.0, 0.15, 3.37)
    """
    values, errors = linearised_ratio(np.asarray(events, np.float64)[None], np.asarray(expected, np.float64)[None])
    value, error, n = float(values[0]), float(errors[0]), expected.size
    total, alpha = float(np.sum(events)), (1.0 - checked_level(level)) / 2.0
    if value <= 0.0:
        return Interval(0.0, 0.0, poisson_high(0, alpha=alpha) / float(expected.sum()), level, n)
    effective = min(total, _effective(value * value, error, n, level)) if error > 0.0 else total
    low, high = special.gammaincinv(effective, alpha), special.gammaincinv(effective + 1.0, 1.0 - alpha)
    return Interval(value, value * float(low) / effective, value * float(high) / effective, level, n)


def _effective(variance_of_one: float, error: float, n: int, level: float) -> float:
    normal = float(special.ndtri(0.5 + level / 2.0))
    return variance_of_one / error**2 * (normal / t_quantile(n, level)) ** 2


def _at(value: float, effective: float, alpha: float, level: float, n: int) -> Interval:
    successes = value * effective
    if 0.0 < value < 1.0:
        low = float(special.betaincinv(successes, effective - successes + 1.0, alpha))
        high = float(special.betaincinv(successes + 1.0, effective - successes, 1.0 - alpha))
        return Interval(value, min(low, value), max(high, value), level, n)
    whole = max(effective, 1.0)
    if value == 0.0:
        return Interval(0.0, 0.0, -float(np.expm1(np.log(alpha) / whole)), level, n)
    return Interval(1.0, float(np.exp(np.log(alpha) / whole)), 1.0, level, n)
