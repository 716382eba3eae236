"""What a difference says of itself: open ends, nothing that varies, and when it is told from zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freerun.results.compare import Difference
from freerun.results.quantity import Quantity
from freerun.stats.design.detectable import smallest_detectable_difference
from freerun.stats.detection.paired_horizon import DrawnDifference
from freerun.stats.paired import PairedDifference, paired_difference

QUANTITY = Quantity("drift", "gap", "Gap", "nats", own_text=True)


def of(d: PairedDifference | DrawnDifference, **more: Any) -> Difference:
    return Difference.of(QUANTITY, d, 1.0, 1.5, method="by hand", **more)


def drawn(**changed: Any) -> DrawnDifference:
    return replace(DrawnDifference(10.0, 4.0, -6.0, -9.0, -2.0, 0.95, 40, 0.01), **changed)


def test_a_paired_difference_keeps_its_numbers_and_takes_the_quantitys_names() -> None:
    made = of(PairedDifference.of(0.5, 0.1, 40), primary=True)
    assert (made.finding, made.name, made.label, made.unit, made.own_text) == ("drift", "gap", "Gap", "nats", True)
    assert (made.a, made.b, made.value, made.n, made.primary) == (1.0, 1.5, 0.5, 40, True)
    assert made.low == pytest.approx(0.5 - 2.0227 * 0.1, abs=1e-4)  # t(39) at 97.5%
    assert made.smallest_detectable is made.adjusted_p is None
    alone, among_ten = made.adjusted(0.01, 0.05), made.adjusted(0.01, 0.005)
    assert alone.smallest_detectable == pytest.approx(smallest_detectable_difference(0.1, 40))
    assert among_ten.smallest_detectable > 1.2 * alone.smallest_detectable  # type: ignore[operator]


def test_an_end_is_open_where_more_than_a_tail_of_draws_lies_beyond_the_lengths() -> None:
    assert (of(drawn()).low, of(drawn()).high) == (-9.0, -2.0)
    open_below = of(drawn(beyond_a=0.026))
    assert (open_below.low, open_below.high) == (None, -2.0)
    assert of(drawn(beyond_b=0.026)).high is None
    assert of(drawn()).adjusted(0.01, 0.05).smallest_detectable is None  # its spread changes with the horizon


def test_the_same_difference_in_every_document_is_a_sign_test_and_in_every_draw_none() -> None:
    ones = np.ones(8)
    same = of(paired_difference(ones, ones, 2 * ones, ones))
    assert (same.low, same.high, same.smallest_detectable, same.degenerate) == (None, None, None, True)
    assert same.p_value == 2.0**-7
    assert same.text == "the same in every document: no interval"
    assert same.adjusted(0.01, 0.05).found
    settled = of(drawn(degenerate=True), text="> 24 and 2 tokens")
    assert (settled.low, settled.high, settled.p_value, settled.text) == (None, None, None, "> 24 and 2 tokens")


@pytest.mark.parametrize(
    ("low", "high", "p", "found"),
    [(0.1, 0.9, 0.05, True), (0.1, 0.9, 0.051, False), (-0.1, 0.9, 0.01, False), (0.1, None, 0.01, True)],
)
def test_told_from_zero_by_the_adjusted_p_value_and_the_interval(
    low: float, high: float | None, p: float, found: bool
) -> None:
    made = replace(of(PairedDifference.of(0.5, 0.1, 40)), low=low, high=high).adjusted(p, 0.05)
    assert (made.adjusted_p, made.found) == (p, found)


def test_identical_records_have_no_interval_and_no_test() -> None:
    made = of(PairedDifference.of(0.0, 0.1, 40)).without_interval("zero by identity", identical=True)
    assert (made.low, made.high, made.p_value, made.smallest_detectable) == (None, None, None, None)
    assert made.identical
    assert not made.adjusted(None, 0.05).found
