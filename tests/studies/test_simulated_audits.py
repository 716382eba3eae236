"""The simulation behind the promise of gates: what counts as a miss, and a small one of it in CI."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from freerun.findings.registry import GATES
from freerun.results.quantity import LEAST_DOCUMENTS
from studies.coverage.audits import GATED, WORLDS, missed, simulate
from studies.coverage.pairs import rejections, simulate_pair

AUDITS = 40


@cache
def audits(world: str) -> tuple[dict[str, Any], ...]:
    return tuple(simulate(world, LEAST_DOCUMENTS, 90_000 + seed) for seed in range(AUDITS))


def by_hand(value: float, low: float, high: float, *, n: int = 64) -> dict[str, Any]:
    return {"numbers": {"loss_nats_per_token": [value, low, high, n]}, "sums": {"loss_nats_per_token": [value, 1.0]}}


def test_a_miss_is_an_interval_wholly_on_one_side_of_the_mean_of_all() -> None:
    results = {("w", 64): [by_hand(1.0, 0.9, 1.1), by_hand(2.0, 1.6, 2.4), by_hand(1.5, 1.4, 1.6), by_hand(1.5, 0, 9)]}
    (row,) = missed(results)
    assert (row.truth, row.audits, row.low_above, row.high_below) == (1.5, 4, 1, 1)
    assert row.rates == (0.25, 0.25)


def test_a_number_on_too_few_documents_to_gate_is_not_counted() -> None:
    assert missed({("w", 24): [by_hand(1.0, 0.9, 1.1, n=24)]}) == []


@pytest.mark.parametrize("world", ["authors", "sentences"])
def test_no_gated_number_misses_far_more_often_than_promised(world: str) -> None:
    """40 audits at the least number of documents. A side that misses 2.5% of the time has more than 5 misses with probability 4e-4;
    there are 30."""
    rows = missed({(world, LEAST_DOCUMENTS): audits(world)})
    names = {r.name for r in rows}
    assert {"loss_nats_per_token", "auc_last", "h75", "loop_incidence", "end_incidence"} <= names
    off = {r.name: (r.low_above, r.high_below) for r in rows if max(r.low_above, r.high_below) > 5}
    assert not off


def test_every_gate_with_an_interval_is_simulated() -> None:
    assert {q.name for q in GATED} == {q.name for q in GATES.values() if not q.exact}
    assert set(WORLDS) >= {"authors", "sentences"}


def test_two_runs_of_one_model_are_compared_on_the_same_documents() -> None:
    pair = simulate_pair("sentences", 24, 3)
    assert "detectability.h75" in pair["p"]
    assert "excess_at_least_nats_per_token" in pair["without_test"]  # each has a reference of its own
    assert "lr_real_mean_nats" in pair["without_test"]
    rows = {name: (k, n) for name, k, n in rejections([pair])}
    assert rows["any further difference found (Benjamini & Yekutieli)"][1] == 1
