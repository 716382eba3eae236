"""The law AUC = Φ(√(κT)): found where it holds, rejected where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from freerun.errors import DataError
from freerun.stats.detection.growth import DetectionLaw, fit_detection_law
from freerun.stats.detection.horizon import auc_draws

LENGTHS = np.array([2, 4, 8, 16, 32])


def measured(rng: np.random.Generator, *, n: int = 80, kappa: float = 0.02, power: float = 0.5) -> DetectionLaw | None:
    """A random walk's endpoint as score: real drift 0, generated drift d a token, variance 1 a token: AUC = Φ(d√T/√2)."""
    drift = np.sqrt(2 * kappa)
    steps = rng.normal(size=(2, n, int(LENGTHS[-1])))
    walk = steps.cumsum(axis=2)[:, :, LENGTHS - 1]
    real, free = walk[0], walk[1] + drift * LENGTHS ** (0.5 + power)
    real, free = real / np.sqrt(LENGTHS), free / np.sqrt(LENGTHS)
    aucs = np.array([(free[:, None, j] > real[None, :, j]).mean() for j in range(len(LENGTHS))])
    draws = auc_draws(list(real.T), [f[:, None] for f in free.T], n_resamples=200, rng=rng)
    return fit_detection_law(LENGTHS, aucs, draws, n_units=n)


def test_kappa_of_a_gaussian_walk() -> None:
    """150 runs at κ = 0.02: the interval (normal, with an estimated covariance) misses in at most 14% of them (nominal 5%; more
    than 21 of 150 would have probability 1e-5 at 5%), and the fit test rejects at 5% in at most 21."""
    rng = np.random.default_rng(0)
    found = [measured(rng) for _ in range(150)]
    laws = [law for law in found if law is not None]
    assert len(laws) == 150
    missed = sum(not law.kappa.low <= 0.02 <= law.kappa.high for law in laws)
    rejected = sum(law.p_value < 0.05 for law in laws)
    limit = binom.ppf(1 - 1e-5, 150, 0.05)
    assert missed <= limit
    assert rejected <= limit
    assert np.median([law.kappa.value for law in laws]) == pytest.approx(0.02, rel=0.2)
    assert np.median([law.h75_tokens for law in laws]) == pytest.approx(0.455 / 0.02, rel=0.2)


def test_another_growth_is_rejected() -> None:
    """Φ⁻¹(AUC) that grows as T: exponent 1, fit test rejects in most runs."""
    rng = np.random.default_rng(1)
    laws = [law for law in (measured(rng, kappa=0.005, power=1.0) for _ in range(30)) if law is not None]
    assert np.median([law.exponent.value for law in laws]) > 0.75
    assert np.mean([law.p_value < 0.05 for law in laws]) > 0.6


def test_lengths_at_certainty_carry_no_probit() -> None:
    rng = np.random.default_rng(2)
    draws = np.clip(rng.normal([0.6, 0.7, 0.8, 1.0], [0.03, 0.03, 0.03, 0.0], size=(100, 4)), 0, 1)
    law = fit_detection_law(np.array([1, 2, 4, 8]), np.array([0.6, 0.7, 0.8, 1.0]), draws, n_units=50)
    assert law is not None
    assert law.used == (1.0, 2.0, 4.0)
    np.testing.assert_allclose(law.auc(np.array([4])), ndtr(np.sqrt(law.kappa.value * 4)))
    assert fit_detection_law(np.array([1, 2, 4, 8]), np.array([0.6, 1, 1, 1.0]), draws, n_units=50) is None


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError):
        fit_detection_law(np.array([1, 2]), np.array([0.5]), np.zeros((10, 4)), n_units=50)
