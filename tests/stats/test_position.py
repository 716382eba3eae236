from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.intervals import cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges


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
    assert (found.n_missing, found.n_outside) == (1, 1)


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
