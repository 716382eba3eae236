"""Sums along texts that end, that are cut, and that share a unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.two_laws.texts import TwoLaws, gap_sums, sums_to, unit_means

NAN = np.nan


def two_texts() -> TwoLaws:
    """A text of three tokens that was cut, and one that ended at its second."""
    log_p = np.log(np.array([[0.5, 0.5, 0.5], [0.8, 0.2, NAN]]))
    log_q = np.log(np.array([[0.25, 0.5, 1.0], [0.8, 0.4, NAN]]))
    rest = np.array([[0.1, 0.2, 0.4], [1.0, 2.0, NAN]])
    return TwoLaws(
        unit=np.array([4, 2]),
        n_tokens=np.array([3, 2]),
        ended=np.array([False, True]),
        log_p=log_p,
        log_q=log_q,
        kl_pq=rest,
        kl_qp=rest,
        tv=rest,
        same_top=np.ones((2, 3), dtype=bool),
    )


def test_an_ended_text_carries_its_sum_on_end_token_included() -> None:
    found = gap_sums(two_texts(), np.array([1, 2, 3]))
    assert found == pytest.approx(np.log([[2.0, 2.0, 1.0], [1.0, 0.5, 0.5]]), abs=1e-12)
    assert sums_to(two_texts().kl_pq, two_texts(), np.array([3])).ravel() == pytest.approx([0.7, 3.0])


def test_texts_that_all_ended_may_be_asked_about_any_length() -> None:
    laws = replace(two_texts(), ended=np.array([True, True]))
    assert gap_sums(laws, np.array([1, 1000]))[:, 1] == pytest.approx(np.log([1.0, 0.5]))


def test_a_text_that_was_cut_before_a_length_is_refused() -> None:
    with pytest.raises(DataError, match="cut after 3 tokens"):
        gap_sums(two_texts(), np.array([1, 4]))


@pytest.mark.parametrize("lengths", [[], [0, 1], [2, 2], [3, 1]])
def test_lengths_that_do_not_ascend_are_refused(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="ascending"):
        sums_to(two_texts().tv, two_texts(), np.array(lengths, dtype=int))


def test_a_writer_without_mass_on_its_own_token_is_refused() -> None:
    laws = two_texts()
    laws.log_p[0, 1] = -np.inf
    with pytest.raises(DataError, match="wrong order"):
        gap_sums(laws, np.array([1]))
    assert np.isposinf(gap_sums(laws.swapped, np.array([1, 3]))[0, 1])


def test_swapping_twice_is_nothing_and_once_turns_the_sign() -> None:
    laws = two_texts()
    assert gap_sums(laws.swapped, np.array([2])) == pytest.approx(-gap_sums(laws, np.array([2])))
    assert laws.swapped.kl_pq is laws.kl_qp
    assert laws.swapped.swapped.log_p is laws.log_p


def test_no_mass_under_either_law_is_no_gap() -> None:
    laws = two_texts()
    laws.log_p[0, 0] = laws.log_q[0, 0] = -np.inf
    assert np.isnan(laws.gap[0, 0])


def test_unit_means_are_of_texts_first() -> None:
    values = np.arange(10.0).reshape(5, 2)
    found = unit_means(values, np.array([9, 1, 9, 9, 1]))
    assert found == pytest.approx(np.stack([values[[1, 4]].mean(axis=0), values[[0, 2, 3]].mean(axis=0)]))
