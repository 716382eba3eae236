"""Scores of posteriors on labelled texts: by hand, against scikit-learn, and that a fitted β and the control do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.sources.bag_of_ngrams import bag_of_ngrams
from freerun.stats.sources.posterior import posterior_of
from freerun.stats.sources.scores import (
    beta_interval,
    cross_fitted_beta,
    fit_beta,
    label_scores,
    permuted_headers,
    surprise_of,
)

PRIOR = np.full(3, 1 / 3)


def made(n: int, seed: int, *, sureness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods that are `sureness` times those of a coherent Gaussian experiment, and the truth drawn from the prior."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    means = np.eye(3)
    x = means[truth] + rng.normal(size=(n, 3))
    return sureness * -0.5 * np.square(x[:, None, :] - means[None]).sum(axis=2), truth


def test_scores_by_hand_and_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    posterior, truth = rng.dirichlet(np.ones(4), size=50), rng.integers(4, size=50)
    found = label_scores(posterior, truth, np.arange(50))
    assert found.log_score_nats.value == pytest.approx(log_loss(truth, posterior, labels=range(4)), abs=1e-12)
    assert found.accuracy.value == pytest.approx((posterior.argmax(axis=1) == truth).mean())
    brier = np.mean([((p - np.eye(4)[t]) ** 2).sum() for p, t in zip(posterior, truth, strict=True)])
    assert found.brier.value == pytest.approx(brier, abs=1e-12)
    assert found.brier.n == 50
    assert label_scores(posterior, truth, np.repeat(np.arange(25), 2)).brier.n == 25


def test_beta_undoes_overconfidence() -> None:
    """Likelihoods raised to the fifth power: β comes to 1/5 of what the plain ones give; those give 1 within 5 standard errors."""
    logs, truth = made(3000, 1)
    beta = fit_beta(PRIOR, logs, truth)
    assert beta == pytest.approx(1.0, abs=0.25)
    assert fit_beta(PRIOR, 5 * logs, truth) == pytest.approx(beta / 5, abs=1e-4)


def test_beta_is_the_minimum_by_brute_force() -> None:
    logs, truth = made(60, 2, sureness=3.0)
    grid = np.linspace(0, 2, 2001)
    scores = [surprise_of(posterior_of(PRIOR, logs, beta=b), truth).mean() for b in grid]
    assert fit_beta(PRIOR, logs, truth) == pytest.approx(grid[int(np.argmin(scores))], abs=1.1e-3)


def test_beta_at_the_ends() -> None:
    """Headers that mislead get β = 0, the prior; a mass that every text gets right would be raised without end and stops at 10."""
    logs, truth = made(60, 3)
    assert fit_beta(PRIOR, -logs, truth) == 0.0
    always = np.where(np.eye(3)[truth] > 0, -1.0, -1.1)
    assert fit_beta(PRIOR, always, truth) == 10.0


def test_the_interval_of_a_beta_at_its_limit_ends_there() -> None:
    """Every text says 0.525 of the truth: no β is large enough."""
    truth = np.repeat([0, 1], 50)
    told = np.log(np.where(np.arange(2)[None, :] == truth[:, None], 0.525, 0.475))
    found = beta_interval(np.array([0.5, 0.5]), told, truth, np.arange(100))
    assert found.value == pytest.approx(found.high)
    assert found.low <= found.value


def test_cross_fitted_beta_covers_and_judges_what_it_has_not_seen() -> None:
    """1,000 sets of 60 texts: the 95% interval of β misses the truth, 1, on either side at most 45 times (false alarm 1e-4 a
    side at the nominal rate); resampled percentiles miss above it 70 to 100 times."""
    assert stats.binom.sf(45, 1000, 0.025) < 1e-4
    above = below = 0
    for seed in range(1000):
        logs, truth = made(60, 10 + seed)
        beta = beta_interval(PRIOR, logs, truth, np.arange(60))
        above, below = above + (beta.low > 1.0), below + (beta.high < 1.0)
    assert max(above, below) <= 45
    logs, truth = made(40, 5, sureness=4.0)
    found = cross_fitted_beta(PRIOR, logs, truth, np.arange(40) // 4, rng=np.random.default_rng(0))
    bayes = posterior_of(PRIOR, logs)
    assert surprise_of(found.posterior, truth).mean() < surprise_of(bayes, truth).mean()
    with pytest.raises(TooFewDocuments):
        cross_fitted_beta(PRIOR, logs, truth, np.arange(40) // 20, rng=np.random.default_rng(0))


def test_permuted_headers_are_at_chance_whatever_the_likelihoods() -> None:
    """One header that always wins, and informative ones: both controls have mean ⅓ within 5 standard errors of 2,000 deals."""
    logs, truth = made(90, 6, sureness=3.0)
    winner = logs + np.array([100.0, 0.0, 0.0])
    for table in (logs, winner):
        found = permuted_headers(table, truth, n_permutations=2000, rng=np.random.default_rng(1))
        assert found.mean == pytest.approx(1 / 3, abs=5 * 0.3 / np.sqrt(2000))
    assert (
        permuted_headers(logs, truth, rng=np.random.default_rng(1)).p_value < 0.25
    )  # one deal of six is the right one
    assert permuted_headers(winner, truth, rng=np.random.default_rng(1)).p_value > 0.25


def test_bag_of_ngrams_learns_words_and_not_its_own_group() -> None:
    """Texts of one group repeat a word of their own; it must not help. Words of the value do."""
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1, 2], 20)
    groups = np.repeat(np.arange(20), 3)
    useful = [f"word{t} the of {'and ' * int(rng.integers(3))}" for t in truth]
    found = bag_of_ngrams(useful, truth, groups, n_values=3, rng=np.random.default_rng(1))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == truth).mean() > 0.95
    alone = np.repeat(np.arange(20), 3)
    by_group = alone % 3
    leaky = [f"author{g} wrote this" for g in alone]
    found = bag_of_ngrams(leaky, by_group, alone, n_values=3, rng=np.random.default_rng(1))
    assert (found.argmax(axis=1) == by_group).mean() < 0.6
    one = bag_of_ngrams(["a b", "c d"], np.array([1, 1]), np.array([0, 1]), n_values=3, rng=np.random.default_rng(1))
    assert (one.argmax(axis=1) == 1).all()
    with pytest.raises(TooFewDocuments):
        bag_of_ngrams(["a", "b"], np.array([0, 1]), np.array([0, 0]), n_values=2, rng=np.random.default_rng(1))


def test_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        label_scores(np.ones((2, 2)) / 2, np.array([0]), np.array([0]))
    with pytest.raises(DataError, match="outside"):
        fit_beta(PRIOR, np.zeros((1, 3)), np.array([3]))
