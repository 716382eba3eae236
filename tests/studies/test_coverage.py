"""Miss rates of intervals and bounds on data with known truth, 300 simulations each; `studies/coverage/run.py` makes 2,000."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from studies.coverage.intervals import LENGTHS, STATISTICS, coin_tv, coverage

RUNS = 300
BOUNDS = [n for n in STATISTICS if n.startswith(("TV", "betting"))]


@pytest.mark.parametrize("name", [n for n in STATISTICS if n not in BOUNDS])
def test_intervals_miss_as_often_as_they_say(name: str) -> None:
    """Fails with probability 1e-4 where the miss rate is the nominal one + 0.01; 300 runs cannot show it to be below that."""
    found = coverage(name, runs=RUNS)
    assert found.misses <= binom.ppf(1 - 1e-4, RUNS, found.nominal + 0.01), found
    assert found.misses > 0, "an interval that never misses is too wide"


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_hold_and_say_something(name: str) -> None:
    """Conservative by construction: the Clopper–Pearson limit at 300 runs is below nominal + 0.01. And no formality."""
    found = coverage(name, runs=RUNS)
    assert found.holds, found
    assert found.median_ratio > 0.4, found


def test_the_truth_of_the_coins_by_enumeration() -> None:
    """All 2^8 strings."""
    heads = np.array([[int(b) for b in f"{i:08b}"] for i in range(256)]).sum(axis=1)
    q = 0.7**heads * 0.3 ** (8 - heads)
    assert coin_tv(8) == pytest.approx(0.5 * np.abs(q - 2.0**-8).sum())
    assert [coin_tv(int(n)) for n in LENGTHS] == sorted(coin_tv(int(n)) for n in LENGTHS)
