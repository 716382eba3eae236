import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc
from freerun.stats.recognition.single_scores import auc_difference, best_single_score

TRAIN = np.arange(60) < 30


def test_the_best_on_training_documents_is_judged_on_the_others() -> None:
    rng = np.random.default_rng(1)
    real, free = rng.normal(size=60), rng.normal(size=(60, 2))
    useful = real + np.where(TRAIN, 0.0, 5.0), free  # only on test documents: must not be chosen
    low = real + 1.0, free
    found = best_single_score({"useful": useful, "low": low}, train=TRAIN)
    assert (found.name, found.sign) == ("low", -1)
    assert found.auc.value == pytest.approx(auc(-free[30:].ravel(), -(real[30:] + 1)))
    assert found.auc.low < found.auc.value < found.auc.high


def test_an_oriented_score_keeps_its_direction() -> None:
    rng = np.random.default_rng(2)
    wrong = rng.normal(size=60) + 3, rng.normal(size=(60, 1))
    assert best_single_score({"x": wrong}, train=TRAIN, oriented=True).auc.value < 0.1
    assert best_single_score({"x": wrong}, train=TRAIN).auc.value > 0.9


def test_a_difference_is_taken_document_by_document() -> None:
    rng = np.random.default_rng(3)
    real, free = rng.normal(size=60), rng.normal(size=(60, 2)) + 1
    one = best_single_score({"x": (real, free)}, train=TRAIN)
    same = auc_difference(one, one)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_nothing_is_found_where_nothing_is() -> None:
    """200 trials, 12 scores of pure noise: the 95% interval of the chosen one's AUC leaves out 1/2 at most 22 times.

    A true miss rate of 5% passes 22 with probability .0003.
    """
    rng = np.random.default_rng(4)
    off = 0
    for _ in range(200):
        scores = {str(j): (rng.normal(size=60), rng.normal(size=(60, 2))) for j in range(12)}
        found = best_single_score(scores, train=TRAIN).auc
        off += not found.low <= 0.5 <= found.high
    assert off <= 22


def test_refusals() -> None:
    scores = {"x": (np.zeros(60), np.zeros((60, 1)))}
    with pytest.raises(TooFewDocuments):
        best_single_score(scores, train=np.arange(60) < 58)
    with pytest.raises(DataError, match="no score"):
        best_single_score({}, train=TRAIN)
