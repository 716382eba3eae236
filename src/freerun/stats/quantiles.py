"""Quantiles of tokens, with documents as the independent units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import group_index, linearised_ratio
from freerun.stats.proportions import proportion_limits


@dataclass(frozen=True)
class Quantile:
    """A quantile with its interval; `n` counts documents.

    `low`, `high`: None where that end is open, so many documents not reaching so far into the tail.
    """

    share: float
    value: float
    low: float | None
    high: float | None
    level: float
    n: int


def clustered_quantiles(
    values: Float[np.ndarray, " items"],
    groups: Int[np.ndarray, " items"],
    shares: Sequence[float],
    *,
    level: float = 0.95,
) -> list[Quantile]:
    """Return quantiles of all items, every item of equal weight (linear between neighbours), with document-clustered intervals.

    The share of items at or below the estimate gets Korn & Graubard's limits for clustered proportions, and the quantiles at these
    limits are the interval (Woodruff 1952, JASA 47:635). It stays valid in the tails, where a bootstrap of few documents does not.

    Raises TooFewDocuments for fewer than two groups, DataError for NaN or shares outside (0, 1).

    >>> found = clustered_quantiles(np.arange(101.0), np.arange(101), [0.5])[0]
    >>> found.value, found.low, found.high
    (50.0, 39.0, 61.0)
    """
    values = np.asarray(values, dtype=np.float64)
    index, n_groups = group_index(groups)
    if n_groups < 2:
        raise TooFewDocuments(f"a quantile with interval needs at least 2 documents, there is {n_groups}")
    if np.isnan(values).any():
        raise DataError("values hold NaN; a quantile needs numbers")
    if not all(0.0 < s < 1.0 for s in shares):
        raise DataError(f"shares are {list(shares)}; each lies strictly between 0 and 1 (extremes have no interval)")
    ordered = np.sort(values)
    sizes = np.bincount(index, minlength=n_groups).astype(np.float64)
    return [_quantile(values, ordered, index, sizes, float(share), level) for share in shares]


def _quantile(
    values: Float[np.ndarray, " items"],
    ordered: Float[np.ndarray, " items"],
    index: Int[np.ndarray, " items"],
    sizes: Float[np.ndarray, " groups"],
    share: float,
    level: float,
) -> Quantile:
    value = _between(ordered, share)
    below = np.bincount(index, weights=values <= value, minlength=sizes.size)
    _, errors = linearised_ratio(below[None], sizes[None])
    low, high = proportion_limits(share, float(errors[0]), values.size, sizes.size, level=level)
    first, last = math.floor(low * values.size), math.ceil(high * values.size) + 1
    return Quantile(
        share,
        value,
        float(ordered[first - 1]) if first >= 1 else None,
        float(ordered[last - 1]) if last <= values.size else None,
        level,
        sizes.size,
    )


def _between(ordered: Float[np.ndarray, " items"], share: float) -> float:
    """Linear between the two neighbours; the upper one where it is infinite."""
    place = share * (ordered.size - 1)
    below, above = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    if below == above or math.isinf(above):
        return above if place > math.floor(place) else below
    return below + (place - math.floor(place)) * (above - below)
