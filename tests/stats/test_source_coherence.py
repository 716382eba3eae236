"""Drift, its bound, the entropy identity and the martingale band: enumeration and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from scipy import special, stats

from freerun.errors import DataError
from freerun.stats.sources.coherence import martingale_band, one_step


def next_posteriors(
    laws: Float[np.ndarray, "sources vocabulary"], posterior: Float[np.ndarray, " sources"]
) -> Float[np.ndarray, "vocabulary sources"]:
    """Return π_{t+1} for every token that could come; π_t itself where no source can write the token."""
    joint = (posterior[:, None] * laws).T
    total = joint.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, joint / np.where(total > 0, total, 1.0), posterior))


def some(seed: int, n_sources: int = 4, n_tokens: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    laws = rng.dirichlet(np.full(n_tokens, 0.3), size=n_sources)
    return rng.dirichlet(np.full(n_tokens, 0.3)), laws, rng.dirichlet(np.ones(n_sources))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 60))
def test_drift_is_the_expected_next_posterior_by_enumeration(seed: int, n_sources: int, n_tokens: int) -> None:
    own, laws, posterior = some(seed, n_sources, n_tokens)
    found = one_step(own, laws, posterior)
    after = next_posteriors(laws, posterior)
    np.testing.assert_allclose(found.drift, own @ after - posterior, atol=1e-12)
    mixed = posterior @ laws
    np.testing.assert_allclose(found.drift, ((own - mixed)[:, None] * after).sum(axis=0), atol=1e-12)
    assert np.abs(found.drift).max() <= found.tv + 1e-12
    np.testing.assert_allclose(found.variance, mixed @ np.square(after - posterior), atol=1e-12)
    assert abs(found.drift.sum()) < 1e-12


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 60))
def test_the_entropy_identity(seed: int, n_sources: int, n_tokens: int) -> None:
    """H(π_t) − E_q̄ H(π_t+1) = H(q̄_t) − Σ π_t(s) H(q_s), both sides by enumeration of the vocabulary."""
    own, laws, posterior = some(seed, n_sources, n_tokens)
    mixed = posterior @ laws
    left = special.entr(posterior).sum() - mixed @ special.entr(next_posteriors(laws, posterior)).sum(axis=1)
    right = special.entr(mixed).sum() - posterior @ special.entr(laws).sum(axis=1)
    assert left == pytest.approx(right, abs=1e-13 * max(1.0, n_tokens))
    assert one_step(own, laws, posterior).expected_information_nats == pytest.approx(max(right, 0.0), abs=1e-12)


def test_the_mixture_itself_does_not_drift() -> None:
    _, laws, posterior = some(3)
    found = one_step(posterior @ laws, laws, posterior)
    assert np.abs(found.drift).max() < 1e-15
    assert (found.tv, found.lost, abs(found.kl_nats) < 1e-15) == (0.0, 0.0, True)


def test_the_bound_is_reached() -> None:
    """Sources that never say the same, and a model that says what only the first does: δ = TV = ½."""
    found = one_step(np.array([1.0, 0.0]), np.eye(2), np.array([0.5, 0.5]))
    assert (found.drift.tolist(), found.tv) == ([0.5, -0.5], 0.5)


def test_mass_where_no_source_has_any_moves_nothing() -> None:
    found = one_step(np.array([0.25, 0.0, 0.75]), np.array([[1.0, 0, 0], [0.5, 0.5, 0]]), np.array([0.5, 0.5]))
    assert (found.lost, found.tv, found.kl_nats) == (0.75, 0.75, np.inf)
    # token 0 comes with ¼ and makes the odds 2:1; otherwise π stays
    np.testing.assert_allclose(found.drift, [0.25 * (2 / 3 - 0.5), 0.25 * (1 / 3 - 0.5)], atol=1e-15)


def simulated(rng: np.random.Generator, shape: tuple[int, int, int], start: float) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the first of two sources (independent tokens of three kinds) along text of their mixture, with variances."""
    laws = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    n_runs, n_paths, n_steps = shape
    now = np.full((n_runs, n_paths), start)
    paths, variances = [now], []
    for _ in range(n_steps):
        mixed = now[..., None] * laws[0] + (1 - now[..., None]) * laws[1]
        variances.append(np.square(now) * ((np.square(laws[0]) / mixed).sum(axis=-1) - 1))
        token = (rng.random((n_runs, n_paths, 1)) > np.cumsum(mixed, axis=-1)).sum(axis=-1)
        now = now * laws[0][token] / np.take_along_axis(mixed, token[..., None], axis=-1)[..., 0]
        paths.append(now)
    return np.stack(paths, axis=2), np.stack(variances, axis=2)


@pytest.mark.parametrize(
    ("start", "n_paths", "most"), [(0.5, 4, 0.063), (0.2, 8, 0.069), (0.01, 8, 0.055), (0.33, 16, 0.087)]
)
def test_band_coverage_and_the_size_of_the_exact_test(start: float, n_paths: int, most: float) -> None:
    """600 runs each of a coherent predictor, 20 steps. The 95% band at the last step misses π_0 in at most `most` of them (the
    band is approximate: 3.4%, 3.8%, 2.8% and 5.1% in 2,000 runs; the allowance is 4 standard errors above that, false alarm
    < 1e-4 for another seed). Each exact p-value is ≤ .05 in at most 5% of the runs: more are found with < 2e-3."""
    n = 600
    paths, variances = simulated(np.random.default_rng(0), (n, n_paths, 20), start)
    bands = [martingale_band(p, v) for p, v in zip(paths, variances, strict=True)]
    assert np.mean([not b.low[-1] <= b.mean[-1] <= b.high[-1] for b in bands]) <= most
    allowed = int(stats.binom.ppf(1 - 2e-3, n, 0.05))
    assert sum(b.rise_p <= 0.05 for b in bands) <= allowed
    assert sum(b.fall_p <= 0.05 for b in bands) <= allowed


def test_predicted_variance_is_the_variance_that_comes() -> None:
    """The mean square of the increments is the mean of the predicted variances: 64,000 of them, within 5 standard errors."""
    paths, variances = simulated(np.random.default_rng(1), (800, 4, 20), 0.4)
    squares = np.square(np.diff(paths, axis=2)) - variances
    by_path = squares.sum(axis=2).ravel()
    assert abs(by_path.mean()) < 5 * by_path.std() / np.sqrt(by_path.size)


def test_a_rising_belief_is_outside_and_its_exact_p_is_the_start() -> None:
    """From 1% to certainty in every path: the mean grew a hundredfold, so p = 1/100."""
    paths = np.tile([0.01, 0.1, 1.0], (3, 1))
    found = martingale_band(paths, np.full((3, 2), 1e-4))
    assert found.mean[-1] > found.high[-1]
    assert (found.rise_p, found.fall_p) == (pytest.approx(0.01), 1.0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        one_step(np.ones(3) / 3, np.ones((2, 2)) / 2, np.ones(2) / 2)
    with pytest.raises(DataError, match="one beginning"):
        martingale_band(np.array([[0.1, 0.2], [0.2, 0.3]]), np.ones((2, 1)))
