"""Shares of several classes from few counts: Jeffreys' Dirichlet(½) posterior and its intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.errors import DataError
from freerun.stats.intervals import checked_level


@dataclass(frozen=True)
class Shares:
    """Share of each class: `share` as counted, `low` and `high` the equal-tailed interval of its Dirichlet(½) marginal.

    `n` counts the draws, which must be independent.
    """

    share: Float[np.ndarray, " classes"]
    low: Float[np.ndarray, " classes"]
    high: Float[np.ndarray, " classes"]
    level: float
    n: int


def dirichlet_half(counts: Int[np.ndarray, " classes"], *, level: float = 0.95) -> Shares:
    """Return shares with intervals: class i has Beta(c_i + ½, n − c_i + (k−1)/2), the marginal of Dirichlet(c + ½).

    A class that was never drawn has 0 as its lower end, one that was always drawn 1 as its upper end, as is usual for Jeffreys
    intervals (Brown, Cai & DasGupta 2001). Each interval is for one class by itself;
    for a share of which two or three draws are expected it misses up to one time in eight.

    Raises DataError for fewer than two classes, negative counts or no draws.

    >>> found = dirichlet_half(np.array([0, 10]))
    >>> found.low[0].item(), found.high[0].round(4).item()
    (0.0, 0.2172)
    """
    counts = np.asarray(counts)
    n, k = int(counts.sum()), counts.size
    if k < 2 or (counts < 0).any() or n < 1:
        raise DataError(
            f"counts {counts.tolist()}: at least two classes and one draw are needed, and no negative count"
        )
    tail = (1.0 - checked_level(level)) / 2.0
    a, b = counts + 0.5, n - counts + (k - 1) / 2.0
    low = np.where(counts == 0, 0.0, special.betaincinv(a, b, tail))
    high = np.where(counts == n, 1.0, special.betaincinv(a, b, 1.0 - tail))
    return Shares(counts / n, low, high, level, n)
