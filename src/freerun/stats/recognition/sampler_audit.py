"""Was a text sampled from the laws that were recorded with it? Tests on a model's own text (Dawid 1984).

Given the past, each token is a draw from its recorded law. So sums of martingale differences have mean 0: surprisal minus
entropy (sees temperature and truncation), tokens by bin of log-probability minus the mass of the bin (sees any law that
spreads its mass otherwise, a lost context among them), tokens that already stand in the context minus their mass (sees a
penalty on them). And the mass before each token, with a uniform share of its own, is uniform whatever order the ids stand
in: by id (sees their order), or from the most probable one down (sees temperature and truncation). The uniforms that drew
the tokens say most: see `seeded`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError
from freerun.stats.recognition.monte_carlo_chi_square import NO_CELLS, ChiSquare, chi_square
from freerun.stats.recognition.seeded import SeededDraws

MIN_EXPECTED = 5.0
PIT_BINS = 20
RANK_EDGES = (*(i / 10 for i in range(10)), 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Where the cells of the mass above a token begin: the last ones are narrow, since a truncation cuts there."""


@dataclass(frozen=True)
class SamplerAudit:
    """p-values of the tests and of all together (Bonferroni: min(1, tests x the smallest)).

    0 where some text holds a token without mass (`n_impossible` texts). A test that has too few tokens has p = 1; one whose columns
    were not recorded is None, and not counted.
    """

    p_z: float
    p_pit: float
    p_calibration: float
    p_rank_order: float | None = None
    p_repeats: float | None = None
    seeded: SeededDraws | None = None
    n_impossible: int = 0

    @property
    def parts(self) -> tuple[float, ...]:
        """p-values of the tests that were made."""
        seeded = None if self.seeded is None else self.seeded.p_value
        parts = (self.p_z, self.p_pit, self.p_calibration, self.p_rank_order, self.p_repeats, seeded)
        return tuple(p for p in parts if p is not None)

    @property
    def p_value(self) -> float:
        """Of all together."""
        return 0.0 if self.n_impossible else min(1.0, len(self.parts) * min(self.parts))


def pit_chi_square(pit: Float[np.ndarray, " tokens"], rng: np.random.Generator) -> ChiSquare:
    """Compare PIT values with the uniform law in 20 cells.

    Raises DataError for values outside [0, 1].
    """
    return _uniformity(pit, np.arange(PIT_BINS) / PIT_BINS, rng)


def rank_order_chi_square(mass_above: Float[np.ndarray, " tokens"], rng: np.random.Generator) -> ChiSquare:
    """Compare the mass above each token (and a uniform share of its own) with the uniform law, in cells that get narrow at the end.

    Raises DataError for values outside [0, 1].
    """
    return _uniformity(mass_above, np.array(RANK_EDGES), rng)


def _uniformity(
    values: Float[np.ndarray, " tokens"], starts: Float[np.ndarray, " cells"], rng: np.random.Generator
) -> ChiSquare:
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("values of a uniform law must lie in [0, 1]")
    counts = np.bincount(np.searchsorted(starts, values, side="right") - 1, minlength=starts.size)
    return _pooled_chi_square(counts.astype(np.float64), values.size * np.diff(np.append(starts, 1.0)), rng)


def calibration_chi_square(
    observed: Real[np.ndarray, "sequences bins"],
    expected: Real[np.ndarray, "sequences bins"],
    rng: np.random.Generator,
) -> ChiSquare:
    """Compare tokens with mass by bin: sum (O - E)^2 / E against its law for independent tokens.

    Neighbouring bins are pooled until each expects `MIN_EXPECTED` tokens. O - E is a martingale with covariance
    sum_t diag(m_t) - m_t m_t', which is at most the multinomial n(diag(m) - m m') at the mean mass m. So the
    statistic is at most Pearson's, and the test conservative where laws differ from token to token.

    Raises DataError for counts that are negative, not finite or ill-shaped.

    >>> calibration_chi_square(np.array([[10.0, 30.0]]), np.array([[20.0, 20.0]]), np.random.default_rng(0)).statistic
    10.0
    """
    observed, expected = np.asarray(observed, np.float64), np.asarray(expected, np.float64)
    if observed.shape != expected.shape or observed.ndim != 2:
        raise DataError(f"observed {observed.shape} and expected {expected.shape} do not fit each other")
    if not (np.isfinite(observed).all() and np.isfinite(expected).all() and min(observed.min(), expected.min()) >= 0):
        raise DataError("calibration counts must be finite and not negative")
    return _pooled_chi_square(observed.sum(axis=0), expected.sum(axis=0), rng)


def _pooled_chi_square(
    observed: Float[np.ndarray, " bins"], expected: Float[np.ndarray, " bins"], rng: np.random.Generator
) -> ChiSquare:
    starts = _pooled(expected, MIN_EXPECTED)
    if len(starts) < 2:
        return NO_CELLS
    return chi_square(np.add.reduceat(observed, starts), np.add.reduceat(expected, starts), rng)


def _pooled(expected: Float[np.ndarray, " bins"], least: float) -> list[int]:
    """Return the first bins of runs that expect at least so much each; what is left at the end joins the last run."""
    starts, pooled = [0], 0.0
    for i, mass in enumerate(expected.tolist()):
        if pooled >= least:
            starts.append(i)
            pooled = 0.0
        pooled += mass
    if pooled < least and len(starts) > 1:
        starts.pop()
    return starts
