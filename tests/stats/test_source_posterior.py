"""The posterior over sources: worked by hand, against Bayes written out, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.sources.posterior import (
    cumulative_likelihood,
    entropy_bits,
    information_bits,
    posterior_of,
    shifts,
    source_path,
    strongest,
    template_weights,
    tokens_until_settled,
    tokens_until_sure,
)


def test_worked_by_hand() -> None:
    """Two sources, priors ¾ and ¼; the token is twice as probable under the second: odds 3:1 become 3:2."""
    path = source_path(np.array([0.75, 0.25]), np.log([[1.0, 0.2], [1.0, 0.4]]))
    np.testing.assert_allclose(path.posterior, [[0.75, 0.25], [0.6, 0.4]], atol=1e-15)
    np.testing.assert_allclose(path.shift, [0.15], atol=1e-15)
    np.testing.assert_allclose(path.information_bits, [0.6 * np.log2(0.8) + 0.4 * np.log2(1.6)], atol=1e-15)
    np.testing.assert_allclose(path.entropy_bits[0], 0.75 * np.log2(4 / 3) + 0.25 * 2, atol=1e-15)


def test_likelihoods_are_averaged_over_templates_not_posteriors() -> None:
    """Template 1 foretells at ½ a token, template 2 at 0.1: after two tokens the mean is (¼ + 0.01)/2 = 0.13."""
    one = np.log([[0.5, 0.5], [0.1, 0.1]])
    np.testing.assert_allclose(np.exp(cumulative_likelihood(one)), [1, 0.3, 0.13], atol=1e-15)
    np.testing.assert_allclose(template_weights(one)[:, 2], [0.25 / 0.26, 0.01 / 0.26], atol=1e-15)
    # averaging posteriors would give another answer
    other = np.log([[0.3, 0.3], [0.3, 0.3]])
    path = source_path(np.array([0.5, 0.5]), np.stack([cumulative_likelihood(one), cumulative_likelihood(other)]))
    assert path.posterior[2, 0] == pytest.approx(0.13 / (0.13 + 0.09), abs=1e-14)
    wrong = 0.5 * (0.25 / 0.34 + 0.01 / 0.10)
    assert abs(path.posterior[2, 0] - wrong) > 0.1


def test_the_law_of_a_source_is_the_mixture_by_template_weights() -> None:
    """q(x_t+1 | x_≤t, s) from the averages equals the templates' laws weighted by their posterior."""
    rng = np.random.default_rng(1)
    logs = np.log(rng.uniform(0.05, 0.9, size=(4, 7)))
    total, weights = cumulative_likelihood(logs), template_weights(logs)
    for t in range(7):
        assert np.exp(total[t + 1] - total[t]) == pytest.approx(weights[:, t] @ np.exp(logs[:, t]), abs=1e-14)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 9))
def test_sequential_bayes_is_batch_bayes(seed: int, n_sources: int, n_tokens: int) -> None:
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(n_sources))
    steps = np.log(rng.uniform(1e-3, 1.0, size=(n_sources, n_tokens)))
    path = source_path(prior, np.hstack([np.zeros((n_sources, 1)), np.cumsum(steps, axis=1)]))
    now = prior
    for t in range(n_tokens):
        now = now * np.exp(steps[:, t])
        now = now / now.sum()
        np.testing.assert_allclose(path.posterior[t + 1], now, atol=1e-10)
    assert (path.information_bits >= -1e-12).all()
    assert ((path.shift >= 0) & (path.shift <= 1)).all()


def test_beta_flattens_and_zero_is_the_prior() -> None:
    prior, logs = np.array([0.2, 0.8]), np.array([-1.0, -9.0])
    np.testing.assert_allclose(posterior_of(prior, logs, beta=0.0), prior)
    odds = [np.divide(*posterior_of(prior, logs, beta=b)) for b in (0.25, 1.0)]
    np.testing.assert_allclose(odds, [0.25 * np.exp(2.0), 0.25 * np.exp(8.0)])


def test_impossible_sources_drop_out_and_an_impossible_text_is_refused() -> None:
    assert posterior_of(np.array([0.5, 0.5]), np.array([-np.inf, -3.0])).tolist() == [0.0, 1.0]
    assert posterior_of(np.array([0.5, 0.5]), np.array([-np.inf, -3.0]), beta=0.0).tolist() == [0.0, 1.0]
    with pytest.raises(DataError, match="no source with a prior"):
        posterior_of(np.array([0.0, 1.0]), np.array([-1.0, -np.inf]))
    with pytest.raises(DataError, match="sums to 1"):
        posterior_of(np.array([0.5, 0.6]), np.array([0.0, 0.0]))
    with pytest.raises(DataError, match="β"):
        posterior_of(np.array([0.5, 0.5]), np.array([0.0, 0.0]), beta=-1.0)
    with pytest.raises(DataError, match="log-likelihoods"):
        posterior_of(np.array([0.5, 0.5]), np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="at most 0"):
        cumulative_likelihood(np.array([[0.5]]))
    with pytest.raises(DataError, match="no template"):
        template_weights(np.full((2, 1), -np.inf))


def test_entropy_information_and_shift_by_hand() -> None:
    path = np.array([[0.25] * 4, [0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    assert entropy_bits(path).tolist() == [2.0, 1.0, 0.0]
    assert information_bits(path).tolist() == [1.0, 1.0]
    assert shifts(path).tolist() == [0.5, 0.5]


def test_tokens_until_sure_and_settled() -> None:
    path = np.array([[0.5, 0.5], [0.95, 0.05], [0.5, 0.5], [0.08, 0.92], [0.02, 0.98]])
    assert (tokens_until_sure(path), tokens_until_settled(path)) == (1, 3)
    assert (tokens_until_sure(path[:3]), tokens_until_settled(path[:3])) == (1, None)
    assert (tokens_until_sure(path[:1]), tokens_until_settled(path[1:2])) == (None, 0)


def test_strongest_leaves_out_what_did_not_move() -> None:
    assert strongest(np.array([0.1, 0.0, 0.3, 0.3]), 5).tolist() == [2, 3, 0]
