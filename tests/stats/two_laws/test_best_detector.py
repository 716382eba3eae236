"""The best detector: its horizons, its check against TV, and its variance."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.horizon import horizon_interval
from freerun.stats.intervals import Interval
from freerun.stats.two_laws.best_detector import auc_range, best_detector, fits_tv
from freerun.stats.two_laws.texts import TwoLaws, gap_sums
from studies.two_laws.worlds import LENGTHS, PAIRS, Pair


def test_the_auc_by_hand_over_all_pairs_of_units() -> None:
    ours, theirs = PAIRS["prompts"].draw(np.random.default_rng(1), 12, 8)
    found = best_detector(ours, theirs, LENGTHS)
    a, b = gap_sums(ours, LENGTHS), -gap_sums(theirs.swapped, LENGTHS)
    for j in range(LENGTHS.size):
        total = 0.0
        for u in range(12):
            for v in range(12):
                if u != v:
                    x, y = a[ours.unit == u, j], b[theirs.unit == v, j]
                    total += np.mean([(s > r) + 0.5 * (s == r) for s in x for r in y])
        assert found.auc[j].value == pytest.approx(total / (12 * 11), abs=1e-12)


def test_the_influences_are_those_of_leaving_units_out() -> None:
    """To first order: without unit u the AUC moves by −ψ_u·n/(n − 1), up to terms of order 1/n²."""

    def without(laws: TwoLaws, u: int) -> TwoLaws:
        kept = laws.unit != u
        return TwoLaws(*(getattr(laws, f.name)[kept] for f in fields(TwoLaws)))

    ours, theirs = PAIRS["apart"].draw(np.random.default_rng(2), 60, 8)
    whole, lengths = best_detector(ours, theirs, np.array([8])), np.array([8])
    moved = [
        best_detector(without(ours, u), without(theirs, u), lengths).auc[0].value - whole.auc[0].value
        for u in range(60)
    ]
    assert -np.array(moved) == pytest.approx(whole.influence[0], abs=1e-3)
    assert np.corrcoef(moved, whole.influence[0])[0, 1] < -0.999


def test_horizons_come_from_the_same_limits() -> None:
    found = best_detector(*PAIRS["apart"].draw(np.random.default_rng(3), 100, 8), LENGTHS)
    columns = (np.array([getattr(a, end) for a in found.auc]) for end in ("value", "low", "high"))
    assert found.horizon(0.75) == horizon_interval(LENGTHS, *columns, level_auc=0.75)


def test_equal_laws_are_told_by_nobody() -> None:
    found = best_detector(*PAIRS["equal"].draw(np.random.default_rng(4), 50, 8), LENGTHS)
    for interval in found.auc:
        assert interval.value == 0.5
        assert interval.low < 0.45 < 0.55 < interval.high  # no width in the data is no certainty


def test_a_curve_that_falls_is_seen() -> None:
    """After four tokens each law's record is turned round: what told the texts apart is taken back and more."""
    ours, theirs = PAIRS["apart"].draw(np.random.default_rng(5), 300, 8)
    for laws in (ours, theirs):
        laws.log_p[:, 4:], laws.log_q[:, 4:] = laws.log_q[:, 4:].copy(), laws.log_p[:, 4:].copy()
    assert best_detector(ours, theirs, LENGTHS).falls == ((4, 8),)


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


def test_one_unit_is_refused() -> None:
    with pytest.raises(TooFewDocuments):
        best_detector(*PAIRS["apart"].draw(np.random.default_rng(7), 1, 8), LENGTHS)
