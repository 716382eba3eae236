"""Means over tokens, by position, and the floor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.two_laws.floor import floor, is_above
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.token_means import by_position, token_means
from studies.two_laws.worlds import PAIRS


@pytest.fixture
def laws() -> TwoLaws:
    ours, _ = replace(PAIRS["ends"], completions=2).draw(np.random.default_rng(1), 30, 20)
    return ours


def test_every_token_weighs_the_same_and_documents_are_the_units(laws: TwoLaws) -> None:
    found = token_means(laws)
    n = int(laws.inside.sum())
    sums = np.array([np.nansum(laws.kl_pq[laws.unit == u]) for u in range(30)])
    sizes = np.array([laws.n_tokens[laws.unit == u].sum() for u in range(30)])
    by_hand = cluster_ratio(sums, sizes, np.arange(30))
    assert found.kl_pq.interval is not None
    assert found.kl_pq.interval.n == by_hand.n == 30
    for end in ("value", "low", "high"):
        assert getattr(found.kl_pq.interval, end) == pytest.approx(getattr(by_hand, end), rel=1e-12)
    assert found.kl_pq.n_tokens == n
    for mean, column in (
        (found.kl_qp, laws.kl_qp),
        (found.tv, laws.tv),
        (found.loss_p, -laws.log_p),
        (found.loss_q, -laws.log_q),
        (found.loss_difference, laws.log_p - laws.log_q),
        (found.delta_p, np.exp(laws.log_q) - np.exp(laws.log_p)),
    ):
        assert mean.interval is not None
        assert mean.interval.value == pytest.approx(np.nansum(column) / n)
        assert mean.interval.n == 30
    assert found.same_top.interval is not None
    assert found.same_top.interval.value == pytest.approx(laws.same_top[laws.inside].mean())


def test_both_directions_and_signs_turn_with_the_laws(laws: TwoLaws) -> None:
    here, there = token_means(laws), token_means(laws.swapped)
    assert here.kl_pq == there.kl_qp
    assert here.loss_p == there.loss_q
    assert here.delta_p.interval is not None
    assert there.delta_p.interval is not None
    assert here.delta_p.interval.value == pytest.approx(-there.delta_p.interval.value)


def test_infinite_tokens_are_counted_and_have_no_mean(laws: TwoLaws) -> None:
    laws.log_q[0, 0] = -np.inf
    laws.kl_pq[0, 0] = laws.kl_pq[1, 0] = np.inf
    laws.log_p[2, 0] = laws.log_q[2, 0] = -np.inf  # real text that neither law can write
    found = token_means(laws)
    assert (found.kl_pq.interval, found.kl_pq.infinite_tokens) == (None, 2)
    assert (found.loss_q.interval, found.loss_q.infinite_tokens) == (None, 2)
    assert (found.loss_difference.interval, found.loss_difference.infinite_tokens) == (None, 2)
    assert found.kl_qp.interval is not None
    assert found.delta_p.interval is not None
    curve, infinite = by_position(laws, "kl_pq", np.array([0, 1, 4, 20]))
    assert infinite == 2
    assert curve.n_tokens[0] == 58


def test_positions_count_from_the_first_token(laws: TwoLaws) -> None:
    curve, _ = by_position(laws, "kl_pq", np.array([0, 1, 2, 20]))
    assert curve.mean[0] == pytest.approx(laws.kl_pq[:, 0].mean())
    assert curve.mean[1] == pytest.approx(np.nanmean(laws.kl_pq[:, 1]))
    assert curve.mean[2] == pytest.approx(np.nanmean(laws.kl_pq[:, 2:]))


def test_the_floor_is_what_rounding_makes(laws: TwoLaws) -> None:
    """TV grows as 0.4·σ·√T of the noise of log-probabilities."""
    rng, sigma = np.random.default_rng(2), 1e-3
    ours, _ = PAIRS["apart"].draw(rng, 2000, 16)
    again = replace(ours, log_q=ours.log_p + sigma * rng.normal(size=ours.log_p.shape), kl_pq=0.0 * ours.kl_pq)
    lengths = np.array([1, 4, 16])
    found = floor(again, lengths)
    assert found.gap_sd_nats == pytest.approx(sigma, rel=0.05)
    assert found.tv.value == pytest.approx(0.4 * sigma * np.sqrt(lengths), rel=0.1)
    assert [k.tokens for k in found.k] == [1, 4, 16]
    assert found.tokens.loss_difference.interval is not None


def test_above_the_floor_is_a_matter_of_both_limits() -> None:
    level = 0.95
    assert is_above(Interval(0.5, 0.4, 0.6, level, 9), Interval(0.2, 0.1, 0.3, level, 9))
    assert not is_above(Interval(0.5, 0.25, 0.6, level, 9), Interval(0.2, 0.1, 0.3, level, 9))
