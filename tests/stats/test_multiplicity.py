"""Holm's procedure by hand, against another implementation's rule, and its familywise error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from freerun.errors import DataError
from freerun.stats.multiplicity import holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_adjusted_p_rejects_what_the_step_down_rule_rejects(p: list[float], alpha: float) -> None:
    """Step down: from the smallest on, reject while p(i) ≤ alpha/(m − i)."""
    values = np.array(p)
    rejected = np.zeros(len(p), bool)
    for i, at in enumerate(np.argsort(values, kind="stable")):
        if values[at] * (len(p) - i) > alpha:
            break
        rejected[at] = True
    assert np.array_equal(holm(values) <= alpha, rejected)


def test_shape_is_kept() -> None:
    p = np.array([[0.01, 0.2], [0.03, 0.04]])
    np.testing.assert_allclose(holm(p), [[0.04, 0.2], [0.09, 0.09]])


def test_familywise_error() -> None:
    """5000 families of 24 independent true nulls: any rejection at 5% in at most the band (above it with probability 1e-5)."""
    p = np.random.default_rng(0).random((5000, 24))
    wrong = sum((holm(row) <= 0.05).any() for row in p)
    assert binom.ppf(1e-5, 5000, 0.045) <= wrong <= binom.ppf(1 - 1e-5, 5000, 0.05)


def test_what_is_no_p_value_is_refused() -> None:
    for bad in ([-0.1], [1.1], [np.nan]):
        with pytest.raises(DataError):
            holm(np.array(bad))
