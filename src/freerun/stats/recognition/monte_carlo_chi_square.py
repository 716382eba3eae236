"""Pearson's chi-square with its null law by simulation, since its tail is not chi-square where few tokens are expected in a cell.

The p-value is sequential (Besag & Clifford 1991, Biometrika 78:301): simulated counts are drawn until ten of them are as unlike
the expected ones as those observed. It is valid at any number of tokens, and cheap where nothing is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError

EXCEEDANCES = 10
MOST_DRAWS = 100_000
"""The smallest p-value is one in so many and one."""
_BATCHES = (200, 2_000, 20_000)


@dataclass(frozen=True)
class ChiSquare:
    """A chi-square statistic with its upper tail probability."""

    statistic: float
    degrees: int
    p_value: float


NO_CELLS = ChiSquare(0.0, 0, 1.0)
"""Where there are not two cells to compare."""


def chi_square(
    observed: Real[np.ndarray, " cells"], expected: Real[np.ndarray, " cells"], rng: np.random.Generator
) -> ChiSquare:
    """Compare counts with what is expected of independent tokens; as many tokens are simulated as are observed.

    Raises DataError for an expectation that is not above 0.

    >>> chi_square(np.array([10, 30]), np.array([20.0, 20.0]), np.random.default_rng(0)).statistic
    10.0
    """
    observed, expected = np.asarray(observed, np.float64), np.asarray(expected, np.float64)
    if not (np.isfinite(expected).all() and (expected > 0).all()):
        raise DataError("a chi-square needs expectations above 0 in every cell")
    if observed.size < 2:
        return NO_CELLS
    statistic = float((np.square(observed - expected) / expected).sum())
    return ChiSquare(statistic, observed.size - 1, _p_value(statistic, round(float(observed.sum())), expected, rng))


def _p_value(statistic: float, n: int, expected: Float[np.ndarray, " cells"], rng: np.random.Generator) -> float:
    """Share of simulated statistics that are at least as large, by Besag & Clifford's rule."""
    share = expected / expected.sum()
    least = statistic * (1 - 1e-12)  # equal counts give equal statistics but for rounding
    reached, done = 0, 0
    for batch in (*_BATCHES, *[_BATCHES[-1]] * (MOST_DRAWS // _BATCHES[-1])):
        drawn = rng.multinomial(n, share, size=min(batch, MOST_DRAWS - done))
        large = np.flatnonzero((np.square(drawn - expected) / expected).sum(axis=1) >= least)
        if reached + large.size >= EXCEEDANCES:
            return EXCEEDANCES / (done + int(large[EXCEEDANCES - reached - 1]) + 1)
        reached += large.size
        done += len(drawn)
        if done >= MOST_DRAWS:
            break
    return (reached + 1) / (done + 1)
