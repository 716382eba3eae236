import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import clopper_pearson
from freerun.stats.proportions import clustered_proportion


def test_korn_and_graubard_by_hand() -> None:
    # documents with 3 of 10, 0 of 10, 1 of 10, 0 of 10: p = .1, residuals 2, -1, 0, -1, so the clustered variance is
    # 4/3 * 6 / 40^2 = .005 against .09/40 = .00225 for independent tokens: 18 effective trials, times (z/t3)^2
    found = clustered_proportion(np.array([3, 0, 1, 0]), np.full(4, 10), np.arange(4))
    trials = 18 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    assert (found.value, found.n) == (0.1, 4)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 0.1 * trials, 0.9 * trials + 1))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 0.1 * trials + 1, 0.9 * trials))


def test_none_or_nothing_else_seen_takes_a_document_as_one() -> None:
    # 10 documents, two texts of 5 tokens each: 100 tokens, but only 50 are sure to be independent
    groups, trials = np.repeat(np.arange(10), 2), np.full(20, 5)
    assert clustered_proportion(np.zeros(20), trials, groups).high == pytest.approx(clopper_pearson(0, 50).high)
    assert clustered_proportion(trials, trials, groups).low == pytest.approx(clopper_pearson(50, 50).low)


def test_masses_may_say_more_than_counts() -> None:
    # masses near .1 everywhere leave little doubt; ten counts in a hundred trials leave much
    mass = clustered_proportion(np.linspace(0.9, 1.1, 10), np.full(10, 10), np.arange(10), masses=True)
    count = clustered_proportion(np.ones(10), np.full(10, 10), np.arange(10))
    assert mass.high - mass.low < 0.3 * (count.high - count.low)
    assert clustered_proportion(np.ones(10), np.full(10, 10), np.arange(10), masses=True).high == 0.1


@given(items=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=2, max_size=20), seed=st.integers(0, 9))
@settings(deadline=None)
def test_the_interval_holds_the_estimate_and_order_does_not_matter(items: list[tuple[int, int]], seed: int) -> None:
    trials = np.array([max(a, b) for a, b in items])
    events = np.array([min(a, b) for a, b in items])
    groups = np.arange(len(items)) // 2 if len(items) > 3 else np.arange(len(items))
    found = clustered_proportion(events, trials, groups)
    assert 0 <= found.low <= found.value <= found.high <= 1
    order = np.random.default_rng(seed).permutation(len(items))
    again = clustered_proportion(events[order], trials[order], groups[order])
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("rate", [0.003, 0.05])
def test_intervals_cover_where_few_are_seen(rate: float) -> None:
    """600 trials of 40 documents with 2 texts of 20 tokens; half the documents have twice the rate of the mean, half none.
    Misses are allowed up to 0.075: with a true rate of 0.05 that is exceeded with probability .003. A linear interval cut at
    0 misses 11% at the smaller rate."""
    rng = np.random.default_rng(3)
    misses = 0
    groups = np.repeat(np.arange(40), 2)
    for _ in range(600):
        own = rng.choice([0.0, 2 * rate], 40)[groups]
        found = clustered_proportion(rng.binomial(20, own), np.full(80, 20), groups)
        misses += not found.low <= rate <= found.high
    assert misses / 600 <= 0.075


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(DataError, match="between 0 and their trials"):
        clustered_proportion(np.array([2, 0]), np.array([1, 1]), np.arange(2))
    with pytest.raises(TooFewDocuments):
        clustered_proportion(np.array([1, 0]), np.array([2, 2]), np.zeros(2, int))
