import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from freerun.errors import DataError
from freerun.stats.design.table import simultaneous_band, visibility
from freerun.stats.intervals import clopper_pearson_low


@given(
    n=st.integers(5, 400),
    cells=st.integers(1, 300),
    rate=st.sampled_from([0.01, 0.05, 0.3, 0.5, 0.9]),
    level=st.sampled_from([0.9, 0.95, 0.99]),
)
@settings(deadline=None)
def test_limits_are_the_tightest_that_each_tail_allows(n: int, cells: int, rate: float, level: float) -> None:
    """By summing the binomial law: less than `low`, and more than `high`, has at most its share; one count further in has more."""
    band = simultaneous_band(n, n_cells=cells, rate=rate, level=level)
    tail = (1 - level) / (2 * cells)
    law = stats.binom.pmf(np.arange(n + 1), n, rate)
    assert law[: band.low].sum() <= tail * (1 + 1e-9)
    assert law[band.high + 1 :].sum() <= tail * (1 + 1e-9)
    assert law[: band.low + 1].sum() > tail * (1 - 1e-9)
    assert law[band.high :].sum() > tail * (1 - 1e-9)


def test_all_cells_lie_inside_together() -> None:
    """Exactly, for independent cells: P(all inside) is a power of one cell's; without Bonferroni it would be far below 95%."""
    m = 150
    inside = {}
    for name, cells in (("band", m), ("alone", 1)):
        band = simultaneous_band(2000, n_cells=cells, rate=0.05)
        one = stats.binom.cdf(band.high, 2000, 0.05) - stats.binom.cdf(band.low - 1, 2000, 0.05)
        inside[name] = one**m
    assert 0.95 <= inside["band"] < 0.98
    assert inside["alone"] < 0.01


def test_conservative_tests_need_only_not_lie_above() -> None:
    band = simultaneous_band(200, n_cells=1, rate=0.05)
    assert (band.low, band.high) == (4, 16)
    law = stats.binom(200, 0.05)
    assert law.cdf(3) < 0.025 < law.cdf(4)
    assert law.sf(16) < 0.025 < law.sf(15)
    assert [band.holds(k) for k in (3, 4, 16, 17)] == [False, True, True, False]
    assert [band.holds(k, at_most=True) for k in (0, 16, 17)] == [True, True, False]


@pytest.mark.parametrize(("runs", "cells", "rate"), [(0, 1, 0.05), (10, 0, 0.05), (10, 1, 0.0), (10, 1, 1.0)])
def test_impossible_bands_are_refused(runs: int, cells: int, rate: float) -> None:
    with pytest.raises(DataError, match="no band"):
        simultaneous_band(runs, n_cells=cells, rate=rate)


def test_how_plainly_by_hand() -> None:
    runs = [200, 200, 200]
    assert visibility([0, 160, 200], runs, at=1, alpha=0.05) == "strong"
    assert visibility([0, 159, 200], runs, at=1, alpha=0.05) == "weak"
    # one-sided limits at 0.05/3: 19 of 200 has 0.0553, 18 has 0.0514, 17 has 0.0475
    least = next(k for k in range(200) if clopper_pearson_low(k, 200, alpha=0.05 / 3) > 0.05)
    assert least == 18
    assert visibility([10, 11, 18], runs, at=1, alpha=0.05) == "weak"
    assert visibility([10, 11, 17], runs, at=1, alpha=0.05) == "blind"
    assert visibility([10, 11, 18], runs, at=1, alpha=0.05, family=2) == "blind"
    assert visibility([10, 11, 40], runs, at=1, alpha=0.05, family=400) == "weak"
    with pytest.raises(DataError, match="must fit"):
        visibility([1], runs, at=0, alpha=0.05)


def test_blind_is_kept_under_the_null() -> None:
    """Three lengths of one test of size 5%: called weak with probability at most 5% (exactly: below 1 − 0.9833^3)."""
    law = stats.binom.sf(17, 200, 0.05)
    assert 1 - (1 - law) ** 3 <= 0.05
