"""The smallest effect that a test would find: what a difference that was not found leaves open."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from freerun.errors import DataError, TooFewDocuments


def smallest_detectable_difference(
    standard_error: float, n_documents: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the true mean difference that a two-sided t test over documents rejects with this power.

    In the unit of `standard_error`, which is that of the mean over `n_documents` independent documents and is taken as known: the
    non-centrality at which the non-central t law has `power` beyond the critical value (Cohen 1988, ch. 2), times it. The far
    tail is left out; it holds less than alpha/2.

    Raises TooFewDocuments for fewer than two documents, DataError unless alpha and power lie strictly between 0 and 1, alpha below
    power, and the standard error is a number that is not negative.

    >>> round(smallest_detectable_difference(0.01, 128), 4)
    0.0282
    """
    if n_documents < 2:
        raise TooFewDocuments(f"a difference over documents needs at least 2 documents, there is {n_documents}")
    if not 0.0 < alpha < power < 1.0:
        raise DataError(f"alpha {alpha} and power {power}: it takes 0 < alpha < power < 1, for example 0.05 and 0.8")
    if not (np.isfinite(standard_error) and standard_error >= 0.0):
        raise DataError(f"a standard error of {standard_error} is not a number to plan with")
    if standard_error == 0.0:
        return 0.0
    return _noncentrality(n_documents - 1, alpha, power) * standard_error


@lru_cache
def _noncentrality(df: int, alpha: float, power: float) -> float:
    critical = float(stats.t.ppf(1.0 - alpha / 2.0, df))

    def short_of(noncentrality: float) -> float:
        return float(stats.nct.sf(critical, df, noncentrality)) - power

    return float(optimize.brentq(short_of, 0.0, critical + 40.0))


def documents_to_decide(
    n_documents: int, half_width: float, distance: float, *, level: float = 0.95, power: float = 0.8
) -> int | None:
    """Return how many documents bring an interval clear of a threshold with this power, if the truth is the present estimate.

    The interval shrinks as one over the root of the documents, and its end lies on the right side with this power once the
    distance is (z_level + z_power)/z_level half widths: n · (1 + z_power/z_level)² · (half width / distance)², rounded up,
    about twice what brings it clear in half of all trials. `half_width` is that towards the threshold. None where the estimate
    lies on the threshold: then no number of documents is known to do.

    >>> documents_to_decide(100, 0.2, 0.1), documents_to_decide(100, 0.2, 0.0)
    (818, None)
    """
    if not np.isfinite(half_width) or distance <= 0.0:
        return None
    needed = n_documents * (effect_at_power(half_width, level=level, power=power) / distance) ** 2
    return None if needed > 1e12 else max(n_documents + 1, int(np.ceil(needed - 1e-9)))


def documents_without_exception(share: float, *, level: float = 0.95) -> int | None:
    """Return how many documents without a single exception hold the upper limit of a share of exceptions below `share`.

    The limit of Clopper and Pearson for no event among n is 1 − (α/2)^(1/n), which shrinks as 1/n. None for a share of 0.

    >>> documents_without_exception(0.001), documents_without_exception(0.0)
    (3688, None)
    """
    if not 0.0 < share < 1.0:
        return None
    return int(np.ceil(np.log((1.0 - level) / 2) / np.log1p(-share)))


def effect_at_power(half_width: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """Return how far the truth must lie from a number for an interval of this half width to come clear of it with this power.

    (1 + z_power/z_level) half widths, by the normal law.

    >>> round(effect_at_power(1.0), 3)
    1.429
    """
    return half_width * float(1.0 + special.ndtri(power) / special.ndtri(0.5 + level / 2.0))
