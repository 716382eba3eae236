"""Differences of log-probabilities by hand, and how often right computations in rounded arithmetic are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.recognition.rescoring import (
    LARGEST_NATS,
    LEAST_FLOOR_NATS,
    MIN_FLOOR_TOKENS,
    MOST_FLOOR_NATS,
    exact_bounds,
    floor_of,
    log_prob_gap,
    rounded_bounds,
    summarise,
)


def test_by_hand() -> None:
    first = np.array([-1.0, -2.0, -np.inf, -np.inf, -3.0])
    second = np.array([-1.25, -2.0, -np.inf, -4.0, -np.inf])
    gap = log_prob_gap(first, second)
    assert gap.tolist() == [0.25, 0.0, 0.0, np.inf, np.inf]
    found = summarise(gap)
    assert (found.n, found.n_one_sided, found.median, found.largest) == (5, 2, 0.25, np.inf)
    assert not exact_bounds(found)[0].holds


@pytest.mark.parametrize(("largest", "holds"), [(0.0, True), (LARGEST_NATS, True), (1.01 * LARGEST_NATS, False)])
def test_one_token_is_enough_in_exact_arithmetic(largest: float, holds: bool) -> None:
    gap = np.zeros(4096)
    gap[1234] = largest
    (bound,) = exact_bounds(summarise(gap))
    assert (bound.name, bound.value, bound.limit) == ("largest", largest, 1e-3)
    assert bound.holds is holds


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        log_prob_gap(np.array([np.nan]), np.array([-1.0]))
    with pytest.raises(DataError, match="no token"):
        summarise(np.zeros(0))
    with pytest.raises(DataError, match="too few"):
        floor_of(np.zeros(MIN_FLOOR_TOKENS - 1))


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_quantiles_are_ordered_values_of_the_sample_in_any_order(values: list[float], random: object) -> None:
    found = summarise(np.array(values))
    assert found.median <= found.q90 <= found.q99 <= found.largest == max(values)
    assert {found.median, found.q90, found.q99} <= set(values)
    assert found == summarise(np.array(sorted(values)))
    assert sum(v <= found.q90 for v in values) >= 0.9 * len(values)


def test_the_floor_is_held_between_its_ends() -> None:
    assert floor_of(np.zeros(64)) == LEAST_FLOOR_NATS
    assert floor_of(np.full(64, 9.7)) == MOST_FLOOR_NATS
    assert floor_of(np.full(64, 0.08)) == 0.08
    bounds = rounded_bounds(summarise(np.full(100, 0.2)), np.full(64, 0.08))
    assert [(b.name, b.holds) for b in bounds] == [("0.5", False), ("0.9", True), ("0.99", True)]
    assert [b.limit for b in bounds] == pytest.approx([0.12, 0.32, 0.64])


def test_a_scorer_that_is_wrong_in_bulk_does_not_hide_a_wrong_sampler() -> None:
    """The floor compares two passes over real text; where that is large too, it excuses nothing beyond half a nat."""
    wrong = np.full(512, 9.7)
    assert not any(b.holds for b in rounded_bounds(summarise(wrong), np.full(64, 9.7)))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 1.0])
def test_size_and_power_in_rounded_arithmetic(share: float) -> None:
    """Right: half-normal differences, own text's with twice the floor's spread. 2,000 runs of 512 own and 96 real tokens, none
    refused: a true rate of 0.35% would give that with probability 0.001. Wrong: a share of tokens is off by 2 nats; each of 200
    runs is refused.
    """
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(2000):
        floor, own = np.abs(rng.normal(0, 0.05, 96)), np.abs(rng.normal(0, 0.1, 512))
        refused += not all(b.holds for b in rounded_bounds(summarise(own), floor))
    assert refused == 0
    for _ in range(200):
        floor, own = np.abs(rng.normal(0, 0.05, 96)), np.abs(rng.normal(0, 0.1, 512))
        own[: int(share * 512)] += 2.0
        assert not all(b.holds for b in rounded_bounds(summarise(own), floor))
