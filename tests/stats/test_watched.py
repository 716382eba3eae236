"""Bets that are watched while documents come in: their size under exact worlds, and their power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from jaxtyping import Float
from scipy.stats import binom

from freerun.errors import DataError
from freerun.stats.detection.betting import betting_wealth
from freerun.stats.detection.two_sample import Detector
from freerun.stats.detection.watched import LEAST_TO_FIT, WatchedBets

STREAMS, DOCUMENTS, WIDTH = 250, 20, 3


def watched(real: Float[np.ndarray, "documents d"], free: Float[np.ndarray, "documents reps d"]) -> WatchedBets:
    bets = WatchedBets()
    for one, own in zip(real, free, strict=True):
        bets.add(one, own)
    return bets


def test_the_detector_never_sees_the_document_that_is_bet_on_nor_a_later_one() -> None:
    """The wealth is that of scores computed by hand, each with a detector of the documents before."""
    rng = np.random.default_rng(0)
    real, free = rng.normal(size=(11, WIDTH)), rng.normal(0.8, 1.0, size=(11, 2, WIDTH))
    scores_real, scores_free = [], []
    for at, fitted_on in ((8, 8), (9, 9), (10, 9)):  # at 10 documents the detector of 9 is not yet an eighth behind
        detector = Detector.train(real[:fitted_on], free[:fitted_on])
        x = np.concatenate([real[at : at + 1], free[at]])[None]
        scores = detector.scores(x, np.ones((1, fitted_on), np.int64))[0, 0]
        scores_real.append(scores[0])
        scores_free.append(scores[1:])
    by_hand = betting_wealth(np.array(scores_real), np.array(scores_free))
    bets = watched(real, free)
    assert bets.n_documents == 3
    assert bets.log_wealth == pytest.approx(by_hand.log_wealth[-1], abs=1e-12)


def test_looked_at_after_every_document_it_exceeds_20_in_no_more_than_a_twentieth() -> None:
    """250 nulls of 20 documents. At a true rate of 5% more than the band is seen with probability 1e-4."""
    rng = np.random.default_rng(20)
    texts = rng.standard_t(3, size=(STREAMS, DOCUMENTS, 3, WIDTH))
    best = [watched(x[:, 0], x[:, 1:]).best_log_wealth for x in texts]
    exceeded = sum(b >= math.log(20) for b in best)
    assert exceeded <= binom.ppf(1 - 1e-4, STREAMS, 0.05)
    assert sum(b > 0 for b in best) > STREAMS / 4  # bets are made


def test_it_grows_where_there_is_a_difference() -> None:
    rng = np.random.default_rng(21)
    for _ in range(5):
        real, free = rng.normal(size=(60, WIDTH)), rng.normal(1.0, 1.0, size=(60, 2, WIDTH))
        assert watched(real, free).log_wealth > math.log(100)


def test_no_bet_before_there_is_a_detector_and_none_on_what_is_no_number() -> None:
    rng = np.random.default_rng(22)
    bets = watched(rng.normal(size=(LEAST_TO_FIT, 2)), rng.normal(size=(LEAST_TO_FIT, 1, 2)))
    assert (bets.n_documents, bets.log_wealth) == (0, 0.0)
    with pytest.raises(DataError, match="finite"):
        bets.add(np.full(2, np.nan), np.zeros((1, 2)))
    with pytest.raises(DataError, match="documents before"):
        bets.add(np.zeros(3), np.zeros((1, 3)))
    assert bets.n_documents == 0
