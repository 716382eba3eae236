import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc, auc_interval, weighted_auc
from freerun.stats.intervals import bootstrap_groups
from freerun.stats.recognition.single_scores import auc_difference, best_single_score

TRAIN = np.arange(60) < 30


def counts(seed: int = 0) -> np.ndarray:
    return bootstrap_groups(np.arange(30), n_resamples=400, rng=np.random.default_rng(seed))


def test_the_best_on_training_documents_is_judged_on_the_others() -> None:
    rng = np.random.default_rng(1)
    real, free = rng.normal(size=60), rng.normal(size=(60, 2))
    useful = real + np.where(TRAIN, 0.0, 5.0), free  # only on test documents: must not be chosen
    low = real + 1.0, free
    found = best_single_score({"useful": useful, "low": low}, train=TRAIN, counts=counts())
    assert (found.name, found.sign) == ("low", -1)
    assert found.auc.value == pytest.approx(auc(-free[30:].ravel(), -(real[30:] + 1)))
    scores = np.concatenate([-(real[30:] + 1), -free[30:].ravel()])
    weights = np.concatenate([counts(), np.repeat(counts(), 2, axis=1)], axis=1)
    draws = weighted_auc(scores, np.repeat([False, True], [30, 60]), weights)
    golden = auc_interval(found.auc.value, draws, n_groups=30)
    assert (found.auc.low, found.auc.high) == pytest.approx((golden.low, golden.high))


def test_an_oriented_score_keeps_its_direction() -> None:
    rng = np.random.default_rng(2)
    wrong = rng.normal(size=60) + 3, rng.normal(size=(60, 1))
    assert best_single_score({"x": wrong}, train=TRAIN, counts=counts(), oriented=True).auc.value < 0.1
    assert best_single_score({"x": wrong}, train=TRAIN, counts=counts()).auc.value > 0.9


def test_difference_uses_the_same_resamples() -> None:
    rng = np.random.default_rng(3)
    real, free = rng.normal(size=60), rng.normal(size=(60, 2)) + 1
    one = best_single_score({"x": (real, free)}, train=TRAIN, counts=counts())
    same = auc_difference(one, one)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_nothing_is_found_where_nothing_is() -> None:
    """200 trials, 12 scores of pure noise: the 95% interval of the chosen one's AUC leaves out 1/2 at most 22 times.

    A true miss rate of 5% passes 22 with probability .0003; the percentile bootstrap of 30 documents is a little short (7%: .02).
    """
    rng = np.random.default_rng(4)
    off = 0
    for i in range(200):
        scores = {str(j): (rng.normal(size=60), rng.normal(size=(60, 2))) for j in range(12)}
        found = best_single_score(scores, train=TRAIN, counts=counts(i)).auc
        off += not found.low <= 0.5 <= found.high
    assert off <= 22


def test_refusals() -> None:
    scores = {"x": (np.zeros(60), np.zeros((60, 1)))}
    with pytest.raises(TooFewDocuments):
        best_single_score(scores, train=np.arange(60) < 58, counts=counts())
    with pytest.raises(DataError, match="no score"):
        best_single_score({}, train=TRAIN, counts=counts())
