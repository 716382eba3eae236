"""Dirichlet(½) intervals: against SciPy's Beta and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.dirichlet import dirichlet_half


def test_marginals_are_betas() -> None:
    found = dirichlet_half(np.array([3, 7, 10]))
    np.testing.assert_allclose(found.share, [0.15, 0.35, 0.5])
    beta = stats.beta(3.5, 17 + 1.0)
    np.testing.assert_allclose([found.low[0], found.high[0]], beta.ppf([0.025, 0.975]), rtol=1e-9)
    assert (found.n, found.level) == (20, 0.95)


def test_marginals_by_drawing_from_the_dirichlet() -> None:
    """40,000 draws: the tails hold 2.5% each, within 5 standard errors (0.4%)."""
    counts = np.array([1, 4, 0, 11])
    draws = np.random.default_rng(0).dirichlet(counts + 0.5, size=40_000)
    found = dirichlet_half(counts)
    below, above = (draws < found.low).mean(axis=0), (draws > found.high).mean(axis=0)
    assert np.abs(above - 0.025).max() < 0.004
    assert np.abs(below[counts > 0] - 0.025).max() < 0.004
    assert below[2] == 0.0


def test_coverage() -> None:
    """4,000 samples of 48 from shares .6 .25 .1 .05: each interval of a share ≥ .1 misses it in 2% to 8% (nominal
    5%, discrete; standard error 0.35%), that of the smallest in at most 15% (2.4 draws expected: the known dip of Jeffreys)."""
    truth = np.array([0.6, 0.25, 0.1, 0.05])
    samples = np.random.default_rng(1).multinomial(48, truth, size=4000)
    missed = np.mean([(f := dirichlet_half(s)) and ((truth < f.low) | (truth > f.high)) for s in samples], axis=0)
    assert ((missed[:3] > 0.02) & (missed[:3] < 0.08)).all(), missed
    assert missed[3] < 0.15


def test_refused() -> None:
    for counts in ([3], [0, 0], [-1, 2]):
        with pytest.raises(DataError, match="at least two classes"):
            dirichlet_half(np.array(counts))
