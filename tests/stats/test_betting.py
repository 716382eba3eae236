"""Wealth by hand, its size when watched all the time, and its power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from freerun.errors import DataError
from freerun.stats.detection.betting import betting_wealth


def test_wealth_by_hand() -> None:
    """s = 1, −1, 1: bets 0; then 2/(2 − ln 3)·1/(1 + 1) capped at ½; then ½ again pulled down by the loss."""
    found = betting_wealth(np.array([0.0, 1.0, 0.0]), np.array([[1.0], [0.0], [1.0]]))
    step = 2 / (2 - math.log(3))
    slope = -1 / (1 - 0.5)
    third = max(0.0, 0.5 + step * slope / (1 + 1 + slope**2))
    wanted = [0.0, math.log(0.5), math.log(0.5) + math.log1p(third)]
    assert min(0.5, step / 2) == 0.5
    np.testing.assert_allclose(found.log_wealth, wanted, atol=1e-12)
    assert found.rejected_after is None


def test_replicates_are_averaged_and_ties_pay_nothing() -> None:
    """Shares above and below cancel; the wealth stays 1."""
    found = betting_wealth(np.zeros(5), np.tile([1.0, -1.0], (5, 1)))
    assert (found.log_wealth == 0).all()
    assert (betting_wealth(np.zeros(5), np.zeros((5, 2))).log_wealth == 0).all()


def test_watched_all_the_time_it_rejects_no_more_often_than_alpha() -> None:
    """2000 nulls of 200 documents, alpha = 0.05: Ville's bound holds at any time. Above the band with probability 1e-5."""
    rng = np.random.default_rng(0)
    rejected = sum(
        betting_wealth(rng.normal(size=200), rng.normal(size=(200, 1))).rejected_after is not None for _ in range(2000)
    )
    assert rejected <= binom.ppf(1 - 1e-5, 2000, 0.05)
    assert rejected > 0  # a bet that never wins would say nothing


def test_it_rejects_soon_where_there_is_a_difference() -> None:
    """Shift of 1.5 SD: pairs are won 86% of the time; 200 runs, each rejected within 60 documents but for a chance of 1e-3."""
    rng = np.random.default_rng(1)
    after = [betting_wealth(rng.normal(size=60), rng.normal(1.5, 1, size=(60, 1))).rejected_after for _ in range(200)]
    assert sum(a is None for a in after) <= 4
    assert np.median([a for a in after if a]) < 25


def test_what_is_no_score_is_refused() -> None:
    for real, free in (
        (np.full(3, np.nan), np.zeros((3, 1))),
        (np.zeros(3), np.zeros((2, 1))),
        (np.zeros(3), np.zeros((3, 0))),
    ):
        with pytest.raises(DataError):
            betting_wealth(real, free)
    with pytest.raises(DataError, match="alpha"):
        betting_wealth(np.zeros(3), np.zeros((3, 1)), alpha=1.0)
