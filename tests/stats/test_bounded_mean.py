"""Limits of bounded means against enumeration of every sample, and against bets made one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds import bounded_mean
from freerun.stats.bounds.bounded_mean import least_units, mean_band, mean_high, mean_low, units_for

COINS = np.array(list(itertools.product([0.0, 1.0], repeat=10))).T


@pytest.mark.parametrize("alpha", [0.025, 0.2])
def test_every_sample_of_ten_coins(alpha: float) -> None:
    """The exact miss rate at every bias: at most alpha, from both sides."""
    highs, lows, heads = mean_high(COINS, alpha=alpha), mean_low(COINS, alpha=alpha), COINS.sum(axis=0)
    for bias in np.linspace(0.01, 0.99, 99):
        mass = bias**heads * (1 - bias) ** (10 - heads)
        assert mass @ (highs < bias) <= alpha
        assert mass @ (lows > bias) <= alpha


def test_every_sample_of_three_values() -> None:
    """Not only coins: 0, 0.3 and 1, six units, on a grid of laws."""
    samples = np.array(list(itertools.product([0, 1, 2], repeat=6))).T
    values = np.array([0.0, 0.3, 1.0])
    highs = mean_high(values[samples], alpha=0.1)
    for a, b in itertools.product(np.linspace(0, 1, 11), repeat=2):
        if a + b <= 1.0 + 1e-12:
            law = np.array([a, b, max(0.0, 1.0 - a - b)])
            assert law[samples].prod(axis=0) @ (highs < law @ values - 1e-9) <= 0.1


def test_the_bets_one_by_one() -> None:
    """Wealth as a loop makes it: at the limit it has reached 1/α, just below it has not."""
    rng = np.random.default_rng(1)
    x, alpha = rng.beta(0.5, 2.0, size=40), 0.01
    limit = float(mean_high(x[:, None], alpha=alpha)[0])

    def most(m: float) -> float:
        stakes = [0.3 * (1 + k) ** -1.5 / sum((1 + j) ** -1.5 for j in range(8)) for k in range(8)] + [0.7]
        paths, best = [1.0] * 9, 0.0
        mean, variance, seen, spread = 0.5, 0.25, 0.5, 0.25
        for i, value in enumerate(x):
            for k in range(8):
                paths[k] *= 1 + 2.0**-k * (m - value) / (1 - m)
            bet = min(math.sqrt(2 * math.log(1 / alpha) / (len(x) * variance)), 0.99 / (1 - m))
            paths[8] *= 1 + bet * (m - value)
            best = max(best, sum(s * p for s, p in zip(stakes, paths, strict=True)))
            seen += value
            mean = seen / (i + 2)
            spread += (value - mean) ** 2
            variance = spread / (i + 2)
        return best

    assert most(limit) >= 1 / alpha * (1 - 1e-6)
    assert most(limit - 1e-6) < 1 / alpha


@pytest.mark.parametrize(("n", "m", "printed"), [(64, 1, 0.056), (64, 16, 0.096), (300, 16, 0.021)])
def test_zeros_come_close_to_what_is_possible(n: int, m: int, printed: float) -> None:
    """No valid limit of n zeros lies below 1 − α^(1/n); this one lies at most 7% above."""
    alpha = 0.025 / m
    least = 1 - alpha ** (1 / n)
    assert least == pytest.approx(printed, abs=5e-4)
    assert least < float(mean_high(np.zeros((n, 1)), alpha=alpha)[0]) < 1.07 * least
    assert least_units(least, alpha=alpha) == n


def test_limits_enclose_the_mean_and_mirror_each_other() -> None:
    x = np.random.default_rng(2).random((30, 5)) ** 3
    low, high = mean_band(x, alpha=0.025)
    assert (low < x.mean(axis=0)).all()
    assert (high > x.mean(axis=0)).all()
    assert low == pytest.approx(1.0 - mean_high(1.0 - x, alpha=0.025), abs=1e-15)
    assert mean_high(x[:, 2:3], alpha=0.025)[0] == pytest.approx(high[2], abs=1e-12)


def test_all_ones_and_long_samples_stay_numbers() -> None:
    """Wealth beyond the largest double is not a NaN."""
    assert mean_high(np.ones((8, 1)), alpha=0.05)[0] == 1.0
    x = np.zeros((20_000, 1))
    x[[10, 5000, 19_000]] = 1.0
    assert 1.5e-4 < mean_high(x, alpha=0.025)[0] < 0.002
    assert 0.0 <= mean_low(np.zeros((5000, 1)), alpha=0.025)[0] < 1e-9


def test_the_forecast_of_units_is_about_right() -> None:
    """So many units like these bring the limit to 0.1, within a fifth."""
    pool = np.random.default_rng(3).beta(0.5, 10.0, size=200_000)
    needed = units_for(pool[:2000], 0.1, alpha=0.0025)
    assert needed is not None
    limits = mean_high(pool[: needed * 50].reshape(needed, 50), alpha=0.0025)
    assert np.median(limits) == pytest.approx(0.1, rel=0.1)
    assert units_for(pool[:2000], 0.04, alpha=0.0025) is None
    assert units_for(np.zeros(50), 0.1, alpha=0.0025) >= least_units(0.1, alpha=0.0025)


def test_the_stakes_are_one_unit_of_money() -> None:
    assert bounded_mean._STAKES.sum() == pytest.approx(1.0, abs=1e-15)


def test_bad_values_are_refused() -> None:
    with pytest.raises(TooFewDocuments):
        mean_high(np.zeros((1, 1)), alpha=0.05)
    for bad in (np.array([[0.5], [1.1]]), np.array([[0.5], [np.nan]]), np.array([[-0.1], [0.0]])):
        with pytest.raises(DataError, match="between 0 and 1"):
            mean_high(bad, alpha=0.05)
    with pytest.raises(DataError, match="alpha"):
        mean_high(np.zeros((4, 1)), alpha=0.0)
    with pytest.raises(DataError, match="strictly"):
        least_units(1.0, alpha=0.05)
