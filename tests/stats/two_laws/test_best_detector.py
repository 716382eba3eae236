"""The best detector: its horizons, its check against TV, and its variance."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds.bounded_mean import mean_band, pair_band
from freerun.stats.detection.horizon import horizon_interval
from freerun.stats.intervals import Interval
from freerun.stats.two_laws.best_detector import auc_range, best_detector, fits_tv
from freerun.stats.two_laws.texts import gap_sums
from studies.two_laws.worlds import LENGTHS, PAIRS, Pair


def test_both_aucs_by_hand_over_all_pairs_of_units() -> None:
    ours, theirs = PAIRS["prompts"].draw(np.random.default_rng(1), 12, 8)
    found = best_detector(ours, theirs, LENGTHS)
    a, b = gap_sums(ours, LENGTHS), -gap_sums(theirs.swapped, LENGTHS)
    for j in range(LENGTHS.size):
        counted = mixed = 0.0
        for u in range(12):
            for v in range(12):
                if u != v:
                    x, y = a[ours.unit == u, j], b[theirs.unit == v, j]
                    counted += np.mean([(s > r) + 0.5 * (s == r) for s in x for r in y])
                    mixed += np.mean([1 / (1 + np.exp(-abs(s - r))) for s in x for r in y])
        assert found.counted[j].value == pytest.approx(counted / (12 * 11), abs=1e-12)
        assert found.auc[j].value == pytest.approx(mixed / (12 * 11), abs=1e-12)


def test_the_limits_of_one_pairing_are_those_of_its_pairs() -> None:
    """Pairs of one pairing are independent units: wealth at the end instead of the largest on the way, so that limits are no
    narrower."""
    x = np.random.default_rng(2).random((40, 3)) ** 2
    low, high = pair_band(x[None], alpha=0.025)
    one = mean_band(x, alpha=0.025)
    assert (low <= one[0] + 1e-9).all()
    assert (high >= one[1] - 1e-9).all()
    assert (high - low < 1.5 * (one[1] - one[0])).all()
    again = pair_band(np.stack([x, x, x]), alpha=0.025)
    assert np.array(again) == pytest.approx(np.array([low, high]), abs=1e-9)


def test_the_new_estimate_varies_less_than_counting() -> None:
    """Near laws, 60 prompts, 150 draws: a fifth of the standard deviation or less at one token, half at eight; both have the truth
    as their mean within four standard errors (both fail by chance once in 10^4)."""
    truths = [PAIRS["tempered"].truth(int(n))[2] for n in LENGTHS]
    rng = np.random.default_rng(8)
    found = [best_detector(*PAIRS["tempered"].draw(rng, 60, 8), LENGTHS) for _ in range(150)]
    mixed, counted = (np.array([[i.value for i in getattr(f, name)] for f in found]) for name in ("auc", "counted"))
    for values in (mixed, counted):
        assert (np.abs(values.mean(axis=0) - truths) < 4 * values.std(axis=0) / np.sqrt(150)).all()
    ratio = mixed.std(axis=0) / counted.std(axis=0)
    assert ratio[0] < 0.2
    assert ratio[-1] < 0.5


def test_horizons_come_from_the_same_limits() -> None:
    found = best_detector(*PAIRS["apart"].draw(np.random.default_rng(3), 100, 8), LENGTHS)
    columns = (np.array([getattr(a, end) for a in found.auc]) for end in ("value", "low", "high"))
    assert found.horizon(0.75) == horizon_interval(LENGTHS, *columns, level_auc=0.75)


def test_equal_laws_are_told_by_nobody() -> None:
    found = best_detector(*PAIRS["equal"].draw(np.random.default_rng(4), 50, 8), LENGTHS)
    for interval in found.auc:
        assert interval.value == 0.5
        assert interval.low == 0.5
        assert 0.55 < interval.high < 0.58  # no width in the data is not certainty
    assert found.agree


def test_a_curve_that_falls_is_seen() -> None:
    """After four tokens each law's record is turned round: what told the texts apart is taken back and more."""
    ours, theirs = PAIRS["apart"].draw(np.random.default_rng(5), 300, 8)
    for laws in (ours, theirs):
        laws.log_p[:, 4:], laws.log_q[:, 4:] = laws.log_q[:, 4:].copy(), laws.log_p[:, 4:].copy()
    found = best_detector(ours, theirs, LENGTHS)
    assert found.falls == ((4, 8),)
    assert not found.agree


def test_a_certain_fall_needs_no_variance() -> None:
    """Every pair told at 1 token, none at 2: all units say so."""
    p = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    pair = Pair(p, p, np.ones(1), False, "")
    ours, theirs = pair.draw(np.random.default_rng(6), 20, 2)
    for laws, sign in ((ours, 1.0), (theirs, -1.0)):
        laws.log_q[:] = laws.log_p - np.array([sign, -2.0 * sign])
    assert best_detector(ours, theirs, np.array([1, 2])).falls == ((1, 2),)


def test_what_a_tv_allows() -> None:
    assert auc_range(0.0) == (0.5, 0.5)
    assert auc_range(1.0) == (1.0, 1.0)
    assert fits_tv(Interval(0.6, 0.55, 0.65, 0.95, 10), 0.0, 0.3)
    assert not fits_tv(Interval(0.6, 0.55, 0.65, 0.95, 10), 0.4, 0.5)  # at least 0.7
    assert not fits_tv(Interval(0.9, 0.85, 0.95, 0.95, 10), 0.0, 0.2)  # at most 0.68
    with pytest.raises(DataError):
        auc_range(1.2)


def test_three_units_are_refused() -> None:
    with pytest.raises(TooFewDocuments):
        best_detector(*PAIRS["apart"].draw(np.random.default_rng(7), 3, 8), LENGTHS)
