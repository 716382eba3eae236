"""The certificate: unit means, lengths, both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds.bounded_mean import mean_high, mean_low
from freerun.stats.two_laws.certificate import certificate, tv_band
from freerun.stats.two_laws.texts import gap_sums
from studies.two_laws.worlds import LENGTHS, PAIRS


def test_the_headline_is_the_mean_over_texts_of_both_within_each_unit() -> None:
    ours, theirs = PAIRS["prompts"].draw(np.random.default_rng(1), 40, 8)
    found = certificate(ours, theirs, LENGTHS)
    by_hand = np.zeros((40, 4))
    for u in range(40):
        p = np.abs(np.tanh(gap_sums(ours, LENGTHS)[ours.unit == u] / 2)).mean(axis=0)
        q = np.abs(np.tanh(gap_sums(theirs.swapped, LENGTHS)[theirs.unit == u] / 2)).mean(axis=0)
        by_hand[u] = (p + q) / 2
    assert found.unit_values == pytest.approx(by_hand, abs=1e-12)
    assert found.both.n == 40
    # each length at 2.5%/4 a side; TV cannot fall with length, and neither do the limits
    highs, lows = mean_high(by_hand, alpha=0.025 / 4), mean_low(by_hand, alpha=0.025 / 4)
    assert found.both.high == pytest.approx([highs[i:].min() for i in range(4)])
    assert found.both.low == pytest.approx([lows[: i + 1].max() for i in range(4)])
    assert (np.diff(found.both.value) >= 0).all()
    assert found.difference == pytest.approx(
        tv_band(ours, LENGTHS).value - tv_band(theirs.swapped, LENGTHS).value, abs=0.02
    )


def test_each_side_alone_is_its_own_band() -> None:
    ours, theirs = PAIRS["ends"].draw(np.random.default_rng(2), 30, 8)
    found = certificate(ours, theirs, LENGTHS)
    for side, alone in ((found.from_p, tv_band(ours, LENGTHS)), (found.from_q, tv_band(theirs.swapped, LENGTHS))):
        assert side.high == pytest.approx(alone.high, abs=1e-12)
        assert side.low == pytest.approx(alone.low, abs=1e-12)


def test_equal_laws_give_the_floor_and_the_units_that_a_tv_needs() -> None:
    found = certificate(*PAIRS["equal"].draw(np.random.default_rng(3), 64, 8), LENGTHS)
    assert found.both.value.tolist() == [0.0] * 4
    assert found.both.floor == pytest.approx(1 - (0.025 / 4) ** (1 / 64))
    assert found.both.floor < found.both.high[-1] < 1.07 * found.both.floor
    assert found.both.longest(0.1) == 8
    assert found.both.longest(0.05) == 0
    assert found.both.least_units(0.05) == 99  # ln(0.00625)/ln(0.95) = 98.9
    assert found.agree
    assert found.units_for(0.05, 8) == pytest.approx(105, abs=20)


def test_a_record_that_is_not_of_the_law_is_seen() -> None:
    """Texts of both sides are p's: TV from q's side is then of another mean, and the sides differ."""
    pair = PAIRS["apart"]
    ours, _ = pair.draw(np.random.default_rng(4), 200, 8)
    again, _ = pair.draw(np.random.default_rng(5), 200, 8)
    assert not certificate(ours, again, LENGTHS).agree


def test_a_token_that_q_cannot_write_is_a_tv_of_one() -> None:
    ours, _ = PAIRS["equal"].draw(np.random.default_rng(6), 20, 8)
    ours.log_q[:, 3] = -np.inf
    found = tv_band(ours, LENGTHS)
    assert found.value == pytest.approx([0.0, 0.0, 1.0, 1.0])
    assert found.high[-1] == 1.0


def test_the_longest_length_below_a_tv() -> None:
    found = certificate(*PAIRS["apart"].draw(np.random.default_rng(7), 400, 8), LENGTHS)
    for tv in (0.3, 0.45, 0.6, 1.0):
        below = [int(n) for n, high in zip(LENGTHS, found.both.high, strict=True) if high <= tv]
        assert found.both.longest(tv) == max(below, default=0)
    assert found.units_for(0.2, 8) is None


def test_arms_after_other_prompts_are_refused() -> None:
    ours, theirs = PAIRS["apart"].draw(np.random.default_rng(8), 12, 8)
    with pytest.raises(DataError, match="different prompts"):
        certificate(ours, replace(theirs, unit=theirs.unit + 1), LENGTHS)
    one = PAIRS["apart"].draw(np.random.default_rng(9), 1, 8)
    with pytest.raises(TooFewDocuments):
        certificate(*one, LENGTHS)
