"""Was a text sampled from the laws that were recorded with it? Three tests on a model's own text (Dawid 1984).

Given the past, each token is a draw from its recorded law. So three sums of martingale differences have mean 0:
surprisal minus entropy (sees temperature and truncation), PIT by bin (sees the order of ids), and tokens by bin of
log-probability minus the mass of the bin (sees any law that spreads its mass otherwise, a lost context among them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real
from scipy import stats

from freerun.errors import DataError
from freerun.stats.recognition.self_recognition import PitUniformity, SelfRecognition, pit_uniformity

MIN_EXPECTED = 5.0
PIT_BINS = 20
_MIN_TOKENS_PER_PIT_BIN = 5


@dataclass(frozen=True)
class ChiSquare:
    """A chi-square statistic with its upper tail probability."""

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True)
class SamplerAudit:
    """p-values of the three tests and of all together (Bonferroni: min(1, 3 x the smallest)).

    0 where some text holds a token without mass (`n_impossible` texts). A test that these columns cannot feed (too few
    tokens, laws without varentropy) has p = 1.
    """

    p_value: float
    p_z: float
    p_pit: float
    p_calibration: float
    z_total: float | None
    n_impossible: int


def sampler_audit(z: SelfRecognition, pit: PitUniformity | None, bins: ChiSquare) -> SamplerAudit:
    """Test "every token was drawn from its recorded law" by its three parts: `self_z`, `pit_test`, `calibration_chi_square`.

    The laws of the three statistics are asymptotic in tokens; the last one is conservative.
    """
    p_pit = 1.0 if pit is None else pit.p_value
    return SamplerAudit(
        p_value=0.0 if z.n_impossible else min(1.0, 3.0 * min(z.p_two_sided, p_pit, bins.p_value)),
        p_z=z.p_two_sided,
        p_pit=p_pit,
        p_calibration=bins.p_value,
        z_total=z.z_total,
        n_impossible=z.n_impossible,
    )


def pit_test(pit: Float[np.ndarray, " tokens"], sequence_index: Int[np.ndarray, " tokens"]) -> PitUniformity | None:
    """Return `pit_uniformity` on 20 bins; None for fewer than 5 tokens a bin, or a single text."""
    if pit.size < _MIN_TOKENS_PER_PIT_BIN * PIT_BINS or np.unique(sequence_index).size < 2:
        return None
    return pit_uniformity(pit, sequence_index, n_bins=PIT_BINS)


def calibration_chi_square(
    observed: Real[np.ndarray, "sequences bins"],
    expected: Real[np.ndarray, "sequences bins"],
    *,
    min_expected: float = MIN_EXPECTED,
) -> ChiSquare:
    """Compare tokens with mass by bin: sum (O - E)^2 / E, as chi-square with bins - 1 degrees of freedom.

    Neighbouring bins are pooled until each expects `min_expected` tokens. O - E is a martingale with covariance
    sum_t diag(m_t) - m_t m_t', which is at most the multinomial n(diag(m) - m m') at the mean mass m. So the
    statistic is at most Pearson's, and the test conservative where laws differ from token to token.

    Raises DataError for counts that are negative, not finite or ill-shaped.

    >>> calibration_chi_square(np.array([[10.0, 30.0]]), np.array([[20.0, 20.0]])).statistic
    10.0
    """
    observed, expected = np.asarray(observed, np.float64), np.asarray(expected, np.float64)
    if observed.shape != expected.shape or observed.ndim != 2:
        raise DataError(f"observed {observed.shape} and expected {expected.shape} do not fit each other")
    if not (np.isfinite(observed).all() and np.isfinite(expected).all() and min(observed.min(), expected.min()) >= 0):
        raise DataError("calibration counts must be finite and not negative")
    tops, bottoms = observed.sum(axis=0), expected.sum(axis=0)
    starts = _pooled(bottoms, min_expected)
    if len(starts) < 2:
        return ChiSquare(0.0, 0, 1.0)
    o, e = np.add.reduceat(tops, starts), np.add.reduceat(bottoms, starts)
    statistic = float((np.square(o - e) / e).sum())
    return ChiSquare(statistic, len(starts) - 1, float(stats.chi2.sf(statistic, len(starts) - 1)))


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
