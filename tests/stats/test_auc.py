import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc, auc_interval, auc_rows, mann_whitney_p_rows, unit_aucs

SCORES = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=15).map(np.array)


def test_auc_by_hand() -> None:
    # pairs (3, 1) (3, 3) (2, 1) (2, 3): win, tie, win, loss = 2.5 of 4
    assert auc(np.array([3.0, 2.0]), np.array([1.0, 3.0])) == 0.625


@given(positive=SCORES, negative=SCORES)
@settings(deadline=None)
def test_auc_is_the_definition_and_sklearns(positive: np.ndarray, negative: np.ndarray) -> None:
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert auc(positive, negative) == pytest.approx(wins)
    labels = np.repeat([1, 0], [positive.size, negative.size])
    assert auc(positive, negative) == pytest.approx(roc_auc_score(labels, np.concatenate((positive, negative))))
    assert auc(negative, positive) == pytest.approx(1 - wins)


@given(positive=SCORES, negative=SCORES)
@settings(deadline=None)
def test_mann_whitney_is_scipys(positive: np.ndarray, negative: np.ndarray) -> None:
    if np.unique(np.concatenate((positive, negative))).size == 1:
        assert mann_whitney_p_rows(positive[None], negative[None])[0] == 1.0
        return
    golden = stats.mannwhitneyu(positive, negative, use_continuity=False, method="asymptotic")
    assert mann_whitney_p_rows(positive[None], negative[None])[0] == pytest.approx(golden.pvalue, abs=1e-12)


def test_rows_equal_one_by_one() -> None:
    rng = np.random.default_rng(3)
    positive, negative = rng.integers(0, 9, (5, 7)).astype(float), rng.integers(0, 9, (5, 4)).astype(float)
    pairs = list(zip(positive, negative, strict=True))
    assert auc_rows(positive, negative).tolist() == [auc(p, n) for p, n in pairs]
    assert mann_whitney_p_rows(positive, negative).tolist() == [
        mann_whitney_p_rows(p[None], n[None])[0] for p, n in pairs
    ]


def tabled(units: int, reps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (1, units)).astype(float), rng.integers(1, 6, (1, units, reps)).astype(float)


@given(units=st.integers(2, 9), reps=st.integers(1, 3), seed=st.integers(0, 99))
@settings(deadline=None)
def test_influence_is_the_derivative_of_the_auc_in_the_weight_of_a_unit(units: int, reps: int, seed: int) -> None:
    real, free = tabled(units, reps, seed)
    found = unit_aucs(real, free)
    assert found.auc[0] == pytest.approx(auc(free.ravel(), real.ravel()))
    assert found.influence.sum() == pytest.approx(0.0, abs=1e-12)
    wins = (free[0][None] > real[0][:, None, None]) + 0.5 * (free[0][None] == real[0][:, None, None])
    pairs = wins.mean(axis=2)  # [real unit, generated unit]
    for i in range(units):
        weights = np.full(units, 1 / units)
        step = 1e-6
        moved = (1 - step) * weights + step * (np.arange(units) == i)
        assert (moved @ pairs @ moved - weights @ pairs @ weights) / step == pytest.approx(
            found.influence[0, i], abs=1e-4
        )


def test_influence_without_clusters_is_delongs_variance() -> None:
    """Sample variances of placements over m and n, as DeLong et al. (1988) have it; units here pair one text of each kind."""
    rng = np.random.default_rng(2)
    real, free = rng.normal(size=40), rng.normal(0.8, 1, size=40)
    found = unit_aucs(real[None], free[None, :, None])
    above = (free[None, :] > real[:, None]).astype(float)
    by_real, by_free = above.mean(axis=1), above.mean(axis=0)
    golden = by_real.var(ddof=1) / 40 + by_free.var(ddof=1) / 40 + 2 * np.cov(by_real, by_free)[0, 1] / 40
    assert np.square(found.influence).sum() / (40 * 39) == pytest.approx(golden)


def test_the_interval_covers_one_sided() -> None:
    # 400 trials: 40 documents, each with a positive and two negatives that share a document effect; positives shifted
    # so that across documents AUC = Phi(1.2/sqrt(2 * 2)) = 0.7257 (within a document it is higher, a share 1/40 of
    # pairs; the document effect cancels there: Phi(1.2/sqrt(2)) = 0.8019), so 0.7276 in all. Nominal 2.5% a side; more
    # than 20 misses (5%) on one side come by chance with probability 0.002.
    truth = float(39 / 40 * stats.norm.cdf(1.2 / 2) + 1 / 40 * stats.norm.cdf(1.2 / 2**0.5))
    rng = np.random.default_rng(8)
    low = high = 0
    for _ in range(400):
        document = rng.normal(size=(40, 1))
        real, free = (document + rng.normal(size=(40, 1)))[:, 0], document + rng.normal(size=(40, 2)) + 1.2
        found = unit_aucs(real[None], free[None])
        variance = float(np.square(found.influence).sum()) / (40 * 39)
        interval = auc_interval(float(found.auc[0]), variance, n_units=40, replicates=float(found.replicates[0]))
        low, high = low + (interval.low > truth), high + (interval.high < truth)
    assert interval.n == 40
    assert max(low, high) <= 20


@pytest.mark.parametrize("value", [0.5, 0.9, 0.98])
def test_limits_are_newcombes_where_the_variance_is_his(value: float) -> None:
    """Independent texts of an exponential model: the effective number is the number there is, with t for z."""

    def variance(theta: float) -> float:
        spread = 1 + 29 * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return theta * (1 - theta) * spread / 900

    found = auc_interval(value, variance(value), n_units=30)
    for theta in (found.low, found.high):
        assert abs(value - theta) == pytest.approx(stats.t.ppf(0.975, 29) * variance(theta) ** 0.5, rel=1e-4)


def test_a_small_variance_is_not_believed_and_a_large_one_is() -> None:
    sure, plain, wild = (auc_interval(0.95, v, n_units=20) for v in (1e-6, 1e-3, 0.02))
    assert (sure.low, sure.high) == pytest.approx((plain.low, plain.high), abs=0.03)
    assert wild.low < plain.low - 0.1


def test_perfect_separation_still_has_a_width() -> None:
    found = auc_interval(1.0, 0.0, n_units=10)
    assert found.value == found.high == 1.0
    assert 0.6 < found.low < 0.9
    mirrored = auc_interval(0.0, 0.0, n_units=10)
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - found.low))


def test_one_sided_or_unknown_scores_are_refused() -> None:
    with pytest.raises(DataError, match="both sides"):
        auc(np.array([1.0]), np.array([]))
    with pytest.raises(DataError, match="NaN"):
        auc(np.array([1.0, np.nan]), np.array([1.0]))
    with pytest.raises(TooFewDocuments):
        auc_interval(0.5, 0.1, n_units=1)


def test_texts_of_one_unit_count_on_either_side() -> None:
    """The harmonic mean of both sides' texts: 1.2 and 1.2 a unit are worth as much as 1 and 1.5."""
    both = auc_interval(0.7, 0.0, n_units=40, replicates=1.2, real_replicates=1.2)
    assert both == auc_interval(0.7, 0.0, n_units=40, replicates=1.5)
