"""Rows that end are replaced from a queue, and no text changes for it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from freerun.predictors.base import Continuations, Predictor, Sample
from freerun.predictors.draws import sequence_key
from freerun.predictors.ngram import NGramPredictor, byte_ngram
from freerun.predictors.observation import Observation
from freerun.predictors.stepwise import Stepwise
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker

RULE = LoopRule(min_tokens=6, max_period=8)
TEXTS = ["the cat sat on the mat\n", "a cat\n", "the hat sat\n", "so it goes and goes\n"] * 3


def generated(predictor: Predictor, prefixes: list[np.ndarray], at_once: int | None, length: int = 40) -> list[Sample]:
    keys = np.array([[sequence_key(str(i), "free", j) for j in range(2)] for i in range(len(prefixes))], np.uint64)
    made = predictor.generate(Continuations(prefixes, keys, length, seed=5, loop_rule=RULE, at_once=at_once))
    return sorted(made, key=lambda s: s.row)


@pytest.mark.parametrize("at_once", [2, 3, 8, 1000])
def test_a_queue_changes_no_text_of_an_exact_law(at_once: int) -> None:
    """Bit for bit: an n-gram's law does not know which rows stand beside it."""
    predictor = byte_ngram(TEXTS, order=3, name="ngram/3@test")
    prefixes = [np.frombuffer(t.encode(), np.uint8)[: 1 + i % 4].astype(np.int64) for i, t in enumerate(TEXTS)]
    wanted, got = generated(predictor, prefixes, None), generated(predictor, prefixes, at_once)
    assert [s.row for s in got] == list(range(2 * len(prefixes)))
    assert {s.end_reason for s in wanted} == {"end_of_text", "length"}
    for a, b in zip(wanted, got, strict=True):
        assert a.end_reason == b.end_reason
        for f in fields(Observation):
            np.testing.assert_array_equal(getattr(a.observation, f.name), getattr(b.observation, f.name))
        np.testing.assert_array_equal(a.uniform, b.uniform)


@pytest.mark.parametrize("at_once", [3, 4, 7])
def test_a_queue_changes_no_text_of_a_network(model: Predictor, at_once: int) -> None:
    """Within the tolerance of float32: caches of unlike length stand side by side, and empty columns are let go."""
    rng = np.random.default_rng(0)
    prefixes = [rng.integers(3, 60, 2 + i % 5) for i in range(9)]
    wanted, got = generated(predictor := model, prefixes, None, 30), generated(predictor, prefixes, at_once, 30)
    same = 0
    for a, b in zip(wanted, got, strict=True):
        n = min(len(a.observation.token_id), len(b.observation.token_id))
        differs = np.flatnonzero(a.observation.token_id[:n] != b.observation.token_id[:n])
        n = int(differs[0]) if len(differs) else n
        same += not len(differs)
        np.testing.assert_allclose(a.observation.log_prob_nats[:n], b.observation.log_prob_nats[:n], atol=2e-4)
    assert same >= len(wanted) - 1  # a draw may fall within rounding of an edge


class Alone(NGramPredictor):
    """An n-gram whose states cannot be joined."""

    join = Stepwise.join


def test_without_joins_the_queue_goes_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = byte_ngram(TEXTS, order=3, name="ngram/3@test")
    prefixes = [np.frombuffer(t.encode(), np.uint8)[:3].astype(np.int64) for t in TEXTS]
    wanted = generated(predictor, prefixes, None)
    predictor.__class__ = Alone
    widths: list[int] = []
    law = NGramPredictor.law

    def seen(self: NGramPredictor, state: np.ndarray) -> object:
        widths.append(len(state))
        return law(self, state)

    monkeypatch.setattr(Alone, "law", seen)
    got = generated(predictor, prefixes, 6)
    assert max(widths) == 6
    assert [s.observation.token_id.tolist() for s in got] == [s.observation.token_id.tolist() for s in wanted]


def test_trackers_joined_are_trackers_side_by_side() -> None:
    rng = np.random.default_rng(1)
    left, right = [rng.integers(0, 2, 30) for _ in range(3)], [rng.integers(0, 2, n) for n in (0, 4)]
    both = LoopTracker([*left, *right], RULE)
    joined = LoopTracker(left, RULE).join(LoopTracker(right, RULE))
    for _ in range(60):
        for a, b in zip(both.completing(), joined.completing(), strict=True):
            np.testing.assert_array_equal(a, b)
        ids = rng.integers(0, 2, 5)
        np.testing.assert_array_equal(both.push(ids), joined.push(ids))
