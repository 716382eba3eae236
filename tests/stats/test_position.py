from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges, slope_by_position, slope_difference


def test_curve_by_hand() -> None:
    # bin [0, 1): documents 0 and 1 with 1 and 3; bin [1, 3): document 0 alone with 5 and 7; bin [3, 4): nobody
    found = curve_by_position(
        np.array([1.0, 5.0, 7.0, 3.0, np.nan, 9.0]),
        np.array([0, 1, 2, 0, 1, 4]),
        np.array([0, 0, 0, 1, 1, 1]),
        edges=np.array([0, 1, 3, 4]),
    )
    assert found.mean[:2].tolist() == [2.0, 6.0]
    assert np.isnan(found.mean[2])
    assert np.isnan(found.low).tolist() == [False, True, True]
    assert found.n_tokens.tolist() == [2, 2, 0]
    assert found.n_groups.tolist() == [2, 1, 0]


def test_each_bin_is_a_cluster_ratio_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    positions, groups = rng.integers(0, 40, 3000), rng.integers(0, 12, 3000)
    values = rng.normal(size=3000) + groups
    edges = log_spaced_edges(40)
    found = curve_by_position(values, positions, groups, edges=edges)
    for i, (left, right) in enumerate(pairwise(edges.tolist())):
        here = (positions >= left) & (positions < right)
        golden = cluster_ratio(values[here], np.ones(here.sum()), groups[here])
        assert (found.mean[i], found.low[i], found.high[i]) == pytest.approx((golden.value, golden.low, golden.high))
    order = rng.permutation(3000)
    shuffled = curve_by_position(values[order], positions[order], groups[order], edges=edges)
    assert shuffled.low == pytest.approx(found.low)


@given(n=st.integers(1, 5000), per_octave=st.integers(1, 4))
@settings(deadline=None)
def test_edges_ascend_from_zero_to_the_end(n: int, per_octave: int) -> None:
    edges = log_spaced_edges(n, per_octave=per_octave)
    assert (edges[0], edges[-1]) == (0, n)
    assert (np.diff(edges) > 0).all()
    assert edges.size <= 2 + per_octave * (np.log2(n) + 1) + 1


def test_what_has_no_mean_is_refused() -> None:
    zeros = np.zeros(2, dtype=int)
    with pytest.raises(DataError, match="infinities"):
        curve_by_position(np.array([np.inf, 1.0]), zeros, zeros, edges=np.array([0, 1]))
    with pytest.raises(DataError, match="must ascend"):
        curve_by_position(np.ones(2), zeros, zeros, edges=np.array([1, 1]))
    with pytest.raises(DataError, match="at least 1 token"):
        log_spaced_edges(0)


def test_balanced_slopes_are_the_mean_of_each_texts_own() -> None:
    """Where all texts have the same positions, the pooled slope is the mean of np.polyfit's over texts, and its interval the t
    interval over documents of their difference."""
    rng = np.random.default_rng(3)
    n, length = 12, 20
    position = np.tile(np.arange(length), 2 * n)
    sequence = np.repeat(np.arange(2 * n), length)
    own = sequence % 2 == 1
    values = rng.normal(size=2 * n * length) + 0.3 * np.log2(1 + position) * own + 5.0 * sequence
    found = slope_difference(values, position, sequence, sequence // 2, own)
    x = np.log2(1 + np.arange(length))
    alone = slope_by_position(values[own], position[own], sequence[own], sequence[own] // 2)
    assert (alone.value, alone.low, alone.high) == pytest.approx((found.first.value, found.first.low, found.first.high))
    slopes = np.array([np.polyfit(x, values[sequence == i], 1)[0] for i in range(2 * n)])
    apart = slopes[1::2] - slopes[::2]
    assert found.first.value == pytest.approx(slopes[1::2].mean())
    assert found.second.value == pytest.approx(slopes[::2].mean())
    golden = cluster_ratio(apart, np.ones(n), np.arange(n))
    assert (found.difference.low, found.difference.high) == pytest.approx((golden.low, golden.high))


def test_a_text_that_stops_early_shifts_no_slope() -> None:
    # every text is flat at a level of its own; the high one stops after 2 tokens
    position = np.array([0, 1, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
    sequence = np.array([0, 0] + [1] * 4 + [2] * 4 + [3] * 4)
    values = np.array([9.0, 9.0] + [1.0] * 4 + [2.0] * 4 + [3.0] * 4)
    found = slope_difference(values, position, sequence, sequence // 2, sequence % 2 == 0)
    assert found.difference.value == pytest.approx(0.0)


def test_slopes_that_cannot_be_known_are_refused() -> None:
    one = np.zeros(4, int)
    with pytest.raises(TooFewDocuments, match="at least 2 documents"):
        slope_difference(np.ones(4), np.arange(4), one, one, np.array([True, True, False, False]))
    with pytest.raises(TooFewDocuments, match="at least 2 positions"):
        slope_difference(np.ones(4), one, np.arange(4), np.arange(4), np.arange(4) < 2)
    with pytest.raises(DataError, match="infinities"):
        slope_difference(np.full(4, np.inf), np.arange(4), one, one, np.arange(4) < 2)
