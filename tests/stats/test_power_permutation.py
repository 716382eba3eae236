from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from freerun.errors import DataError
from freerun.stats.design.permutation import distinct_difference_p, mean_difference_p, relabellings


def every_choice(n: int) -> np.ndarray:
    out = [np.isin(np.arange(2 * n), c) for c in combinations(range(2 * n), n)]
    return np.array(out)


def test_relabellings_choose_half_and_every_half_alike() -> None:
    """6 halves of 4 texts, 6,000 draws: each has 1,000 ± 4.5 SD; false alarm 4e-5."""
    found = relabellings(2, 6000, rng=np.random.default_rng(1))
    assert (found.sum(axis=1) == 2).all()
    _, counts = np.unique(found @ (1 << np.arange(4)), return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 4.5 * np.sqrt(6000 * 5 / 36)


@given(data=st.data(), n=st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_means_against_scipys_exact_test(data: st.DataObject, n: int) -> None:
    values = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=2 * n, max_size=2 * n)), float)
    every = every_choice(n)
    golden = stats.permutation_test(
        (values[:n], values[n:]),
        lambda x, y, axis: abs(x.mean(axis) - y.mean(axis)),
        alternative="greater",
        vectorized=True,
    )
    ours = float(mean_difference_p(values[:, None], every)[0])
    # all choices, the observed one among them, are drawn here and one is added
    assert ours == pytest.approx((1 + golden.pvalue * len(every)) / (1 + len(every)))


def test_columns_are_tested_one_by_one() -> None:
    rng = np.random.default_rng(2)
    values, chosen = rng.normal(size=(12, 3)), relabellings(6, 99, rng=rng)
    alone = [float(mean_difference_p(values[:, [k]], chosen)[0]) for k in range(3)]
    assert mean_difference_p(values, chosen).tolist() == alone


@given(data=st.data(), n=st.integers(2, 4), grams=st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_distinct_by_sets(data: st.DataObject, n: int, grams: int) -> None:
    codes = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 9), min_size=grams, max_size=grams), min_size=2 * n, max_size=2 * n))
    )
    every = every_choice(n)

    def gap(side: np.ndarray) -> int:
        return abs(len(set(codes[side].ravel().tolist())) - len(set(codes[~side].ravel().tolist())))

    seen = gap(np.arange(2 * n) < n)
    by_hand = (1 + sum(gap(side) >= seen for side in every)) / (1 + len(every))
    assert distinct_difference_p(codes, every) == pytest.approx(by_hand)


def test_the_level_is_exact() -> None:
    """20 texts of one skewed law, 19 relabellings, 4,000 times: 5% rejections; outside ± 4 SD with probability 6e-5."""
    rng = np.random.default_rng(3)
    hits = [
        mean_difference_p(rng.lognormal(size=(20, 1)), relabellings(10, 19, rng=rng))[0] <= 0.05 for _ in range(4000)
    ]
    assert abs(sum(hits) - 200) < 4 * np.sqrt(4000 * 0.05 * 0.95)


def test_a_difference_is_found_and_ties_are_not_one() -> None:
    rng = np.random.default_rng(4)
    chosen = relabellings(10, 199, rng=rng)
    shifted = np.concatenate([rng.normal(size=10) + 9, rng.normal(size=10)])
    assert mean_difference_p(shifted[:, None], chosen)[0] == 1 / 200
    assert mean_difference_p(np.full((20, 1), 0.1 + 0.2), chosen)[0] == 1.0
    assert distinct_difference_p(np.zeros((20, 5), int), chosen) == 1.0


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="at least 2"):
        relabellings(1, 10, rng=rng)
    chosen = relabellings(3, 5, rng=rng)
    with pytest.raises(DataError, match="finite"):
        mean_difference_p(np.full((6, 1), np.nan), chosen)
    with pytest.raises(DataError, match="fit"):
        mean_difference_p(np.zeros((4, 1)), chosen)
    with pytest.raises(DataError, match="fit"):
        distinct_difference_p(np.zeros((4, 2), int), chosen)
