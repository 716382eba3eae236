"""Holm's procedure by hand, against another implementation's rule, and its familywise error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from freerun.errors import DataError
from freerun.stats.multiplicity import benjamini_yekutieli, holm


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


def test_false_discovery_rates_by_their_definition() -> None:
    """The largest k with p_(k) ≤ kq/m is found by hand, for many q."""
    rng = np.random.default_rng(3)
    p = np.concatenate([rng.random(12), rng.random(8) * 0.02])
    ordered, m = np.sort(p), p.size
    price = sum(1 / i for i in range(1, m + 1))
    for q in (0.01, 0.05, 0.1, 0.3):
        k = max((i for i in range(1, m + 1) if ordered[i - 1] * price <= i * q / m), default=0)
        assert int((benjamini_yekutieli(p) <= q).sum()) == k


def test_golden_false_discovery_rates() -> None:
    """R 4: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "BY") is 0.05 × 137/60 five times."""
    p = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    np.testing.assert_allclose(benjamini_yekutieli(p), 0.05 * 137 / 60)


def test_false_discovery_rate_under_negative_dependence() -> None:
    """2,000 tables of 20 true nulls in pairs of opposite z, two-sided: any rejection is a false discovery. Yekutieli must hold 5%.

    More than 142 of 2,000 (7.1%) would come with probability below 3e-5 at an exact 5%.
    """
    z = np.random.default_rng(4).normal(size=(2000, 10))
    p = 2 * norm.sf(np.abs(np.hstack([z, -z])))
    assert sum((benjamini_yekutieli(row) <= 0.05).any() for row in p) <= 142
