"""Quantiles of clustered items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.quantiles import _STAKES, _Items, clustered_quantiles


def test_values_are_those_of_numpy() -> None:
    values = np.random.default_rng(1).gamma(0.5, size=333)
    shares = [0.001, 0.05, 0.5, 0.77, 0.999]
    found = clustered_quantiles(values, np.arange(333) // 9, shares)
    assert [q.value for q in found] == pytest.approx(np.quantile(values, shares), rel=1e-12)


def test_the_median_of_independent_items_is_wider_than_the_exact_one_by_a_half_or_so() -> None:
    """Items of their own groups: order statistics of the binomial (Conover 1999)."""
    values = np.random.default_rng(2).normal(size=400)
    found = clustered_quantiles(values, np.arange(400), [0.5])[0]
    ordered = np.sort(values)
    exact = stats.binom.ppf([0.025, 0.975], 400, 0.5).astype(int)
    places = np.searchsorted(ordered, [found.low, found.high])
    assert places[0] < exact[0] < exact[1] < places[1]
    assert places[1] - places[0] < 1.75 * (exact[1] - exact[0])


def test_the_limits_are_where_the_stake_is_multiplied_by_forty() -> None:
    """By a slow walk over all values, of documents of three lengths."""
    rng = np.random.default_rng(4)
    index = np.repeat(np.arange(40), rng.integers(5, 30, 40))
    values = rng.gamma(0.5, size=index.size)
    for share in (0.1, 0.5, 0.9):
        found = clustered_quantiles(values, index, [share])[0]
        items = _Items(values, np.unique(values), index, np.bincount(index).astype(float))
        bets = items._bets(share, share, 0.025)
        won = []
        for x in np.unique(values):
            wealth, most = np.ones(len(bets)), 0.0
            for document in range(40):
                mine = values[index == document]
                gain = ((mine <= x).sum() - share * mine.size) / np.bincount(index).max() / share
                wealth = wealth * (1 + bets[:, document] * gain)
                most = max(most, float(_STAKES @ wealth))
            won.append(most >= 40)
        assert won == sorted(won)
        assert found.high == (np.unique(values)[won.index(True)] if any(won) else None)


def test_items_that_come_together_count_once() -> None:
    """Every document says one thing, ten times: the interval is that of the documents."""
    once = np.random.default_rng(3).normal(size=60)
    alone = clustered_quantiles(once, np.arange(60), [0.5])[0]
    tenfold = clustered_quantiles(np.repeat(once, 10), np.repeat(np.arange(60), 10), [0.5])[0]
    assert tenfold.value == pytest.approx(alone.value, abs=0.1)
    ordered = np.sort(once)
    for end in ("low", "high"):
        places = np.searchsorted(ordered, [getattr(alone, end), getattr(tenfold, end)])
        assert abs(int(places[0]) - int(places[1])) <= 2


def test_an_end_beyond_the_sample_is_open() -> None:
    found = clustered_quantiles(np.arange(200.0), np.arange(200) // 10, [0.001, 0.5, 0.999])
    assert found[0].low is None
    assert found[0].high is not None
    assert found[1].low is not None
    assert found[1].high is not None
    assert found[2].high is None


def test_infinite_values_stay_at_their_end() -> None:
    values = np.arange(100.0)
    values[90:] = np.inf
    found = clustered_quantiles(values, np.arange(100) // 5, [0.5, 0.95])
    assert found[0].value == pytest.approx(49.5)
    assert found[1].value == np.inf


def test_what_has_no_quantile_is_refused() -> None:
    with pytest.raises(TooFewDocuments):
        clustered_quantiles(np.arange(9.0), np.zeros(9, dtype=int), [0.5])
    with pytest.raises(DataError, match="NaN"):
        clustered_quantiles(np.array([1.0, np.nan]), np.arange(2), [0.5])
    with pytest.raises(DataError, match="extremes"):
        clustered_quantiles(np.arange(9.0), np.arange(9), [1.0])
