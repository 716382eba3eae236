import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.calibration import calibration_curve
from freerun.stats.proportions import clustered_rate


def test_ratio_and_what_is_not_known() -> None:
    observed = np.array([[6.0, 0.0, 1.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    expected = np.array([[3.0, 4.0, 0.5], [2.0, 3.0, 0.5], [1.0, 3.0, 0.5]])
    found = calibration_curve(observed, expected, np.array([0, 0, 1]))
    first, second, third = found.ratio
    assert first is not None
    assert second is not None
    assert third is None
    # documents have 8/5 and 4/1: the ratio is 12/6 = 2
    assert first.value == 2.0
    golden = clustered_rate(np.array([8.0, 4.0]), np.array([5.0, 1.0]))
    assert first.high == pytest.approx(golden.high)
    assert first.low == max(golden.low, 0.0)
    # nothing seen where 10 were expected: at most -ln(.025)/10
    assert (second.value, second.low) == (0.0, 0.0)
    assert second.high == pytest.approx(0.3688879)
    assert found.observed.tolist() == [12.0, 0.0, 1.0]
    assert found.expected.tolist() == [6.0, 10.0, 1.5]


def test_order_of_sequences_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    observed, expected = rng.poisson(5, (20, 4)).astype(float), rng.uniform(3, 7, (20, 4))
    groups = rng.integers(0, 6, 20)
    order = rng.permutation(20)
    first, second = (
        calibration_curve(observed[rows], expected[rows], groups[rows]).ratio for rows in (np.arange(20), order)
    )
    for a, b in zip(first, second, strict=True):
        assert a is not None
        assert b is not None
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_a_calibrated_law_is_covered() -> None:
    # 200 trials x 4 bins of 40 documents with gamma-mixed rates; nominal 95%. Bins are independent here: 800 intervals,
    # allowed 91.5% .. 97.5%, left by a true coverage of 94.5% with probability .001
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        expected = rng.gamma(2.0, 4.0, (40, 4))
        for ratio in calibration_curve(rng.poisson(expected).astype(float), expected, np.arange(40)).ratio:
            assert ratio is not None
            hits += ratio.low <= 1.0 <= ratio.high
    assert 0.915 <= hits / 800 <= 0.99  # exact limits of counts are wide rather than narrow


def test_ill_shaped_or_negative_counts_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        calibration_curve(np.ones((2, 3)), np.ones((2, 2)), np.arange(2))
    with pytest.raises(DataError, match="not negative"):
        calibration_curve(-np.ones((2, 3)), np.ones((2, 3)), np.arange(2))
