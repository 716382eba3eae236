import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc, auc_interval, auc_rows, mann_whitney_p_rows, weighted_auc
from freerun.stats.intervals import Interval, bootstrap_groups


def auc_bootstrap(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, n_resamples: int = 1000, rng: np.random.Generator
) -> Interval:
    draws = weighted_auc(scores, labels, bootstrap_groups(groups, n_resamples=n_resamples, rng=rng))
    return auc_interval(auc(scores[labels], scores[~labels]), draws, n_groups=np.unique(groups).size)


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


@given(data=st.data(), n=st.integers(2, 12))
@settings(deadline=None)
def test_weighted_auc_is_the_auc_of_repeated_items(data: st.DataObject, n: int) -> None:
    scores = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = np.array(data.draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=3)))
    for row, found in zip(weights, weighted_auc(scores, labels, weights), strict=True):
        repeated, kinds = np.repeat(scores, row), np.repeat(labels, row)
        if kinds.all() or not kinds.any():
            assert np.isnan(found)
        else:
            assert found == pytest.approx(auc(repeated[kinds], repeated[~kinds]))


def test_bootstrap_covers() -> None:
    # 250 trials: 40 documents, each with a positive and two negatives that share a document effect; positives shifted
    # so that across documents AUC = Phi(1.2/sqrt(2 * 2)) = 0.7257 (within a document it is higher, a share 1/40 of
    # pairs; the document effect cancels there: Phi(1.2/sqrt(2)) = 0.8019), so 0.7276 in all. Nominal 95%; allowed 90%
    # .. 98.5%, which a true coverage of 94.5% leaves by chance with probability 0.004.
    truth = float(39 / 40 * stats.norm.cdf(1.2 / 2) + 1 / 40 * stats.norm.cdf(1.2 / 2**0.5))
    rng = np.random.default_rng(8)
    groups = np.concatenate((np.arange(40), np.arange(40), np.arange(40)))
    labels = np.arange(120) < 40
    hits = 0
    for _ in range(250):
        scores = rng.normal(0, 1, 40)[groups] + rng.normal(0, 1, 120) + 1.2 * labels
        found = auc_bootstrap(scores, labels, groups, n_resamples=300, rng=rng)
        hits += found.low <= truth <= found.high
    assert found.n == 40
    assert 0.90 <= hits / 250 <= 0.985


def test_perfect_separation_still_has_a_width() -> None:
    scores, labels = np.arange(20.0), np.arange(20) >= 10
    groups = np.tile(np.arange(10), 2)
    found = auc_bootstrap(scores, labels, groups, rng=np.random.default_rng(0))
    assert found.value == found.high == 1.0
    # the score limit solves (1 - theta) = z sqrt(theta (1-theta) [1 + 9 ((1-theta)/(2-theta) + theta/(1+theta))] / 100)
    theta = found.low
    spread = 1 + 9 * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    assert 1 - theta == pytest.approx(1.959964 * (theta * (1 - theta) * spread / 100) ** 0.5, rel=1e-4)
    assert 0.6 < found.low < 0.9
    mirrored = auc_bootstrap(-scores, labels, groups, rng=np.random.default_rng(0))
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - found.low))


def test_one_sided_or_unknown_scores_are_refused() -> None:
    with pytest.raises(DataError, match="both sides"):
        auc(np.array([1.0]), np.array([]))
    with pytest.raises(DataError, match="NaN"):
        auc(np.array([1.0, np.nan]), np.array([1.0]))
    with pytest.raises(TooFewDocuments):
        auc_bootstrap(np.arange(4.0), np.arange(4) > 1, np.zeros(4, dtype=int), rng=np.random.default_rng(0))
