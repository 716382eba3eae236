"""Distortions against laws worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from freerun.organisms.collapse import Collapse
from freerun.organisms.ending import Ending
from freerun.organisms.loop import LoopBoost
from freerun.predictors.base import Continuations
from freerun.predictors.ngram import NGramCounts
from freerun.predictors.observation import Observation
from freerun.stats.loops.lag_runs import LoopRule

Load = Callable[[str], Any]
NOTHING = np.zeros(0, np.int64)
KEYS = np.arange(2000).reshape(2000, 1).astype(np.uint64)


def documents(world: Any, n: int, length: int) -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in world.corpus(n, length, seed=11).documents]


def after(predictor: Any, *text: int) -> np.ndarray:
    return np.asarray(predictor.law(predictor.start([np.array(text, np.int64)])).probs()[0])


def test_the_null_changes_no_bit_of_any_record(loaded: Load, world: Any) -> None:
    null, rule = loaded("+null"), LoopRule(copies=2, min_tokens=3, max_period=4)
    texts = documents(world, 4, 30)
    for a, b in zip(
        null.score(texts, first=2, loop_rule=rule), world.score(texts, first=2, loop_rule=rule), strict=True
    ):
        for f in fields(Observation):
            np.testing.assert_array_equal(getattr(a.observation, f.name), getattr(b.observation, f.name))
    prefixes = [t[:3] for t in texts]
    mine, plain = (
        list(p.generate(Continuations(prefixes, KEYS[:4], 20, seed=1, loop_rule=rule))) for p in (null, world)
    )
    for x, y in zip(mine, plain, strict=True):
        for f in fields(Observation):
            np.testing.assert_array_equal(getattr(x.observation, f.name), getattr(y.observation, f.name))
    for p, q in zip(null.log_probs(texts), world.log_probs(texts), strict=True):
        np.testing.assert_array_equal(p, q)


def test_tempered_and_truncated_laws_by_hand(loaded: Load, world: Any) -> None:
    p = after(world, 2)
    np.testing.assert_allclose(after(loaded("+temperature,t=0.5"), 2), p**2 / (p**2).sum(), atol=1e-12)
    kept = np.where(p >= np.sort(p)[-2], p, 0)
    np.testing.assert_allclose(after(loaded("+top_k,k=2"), 2), kept / kept.sum(), atol=1e-12)
    kept = np.where(p == p.max(), p, 0)
    np.testing.assert_allclose(after(loaded("+top_p,p=0.01"), 2), kept / kept.sum(), atol=1e-12)


def test_a_window_of_one_token_is_enough_for_a_first_order_chain(loaded: Load, world: Any) -> None:
    texts = documents(world, 3, 20)
    for a, b in zip(loaded("+short_window,window=1").log_probs(texts), world.log_probs(texts), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_short_window_sees_no_more_than_its_tokens(loaded: Load) -> None:
    third = loaded("world/markov,symbols=3,seed=4,order=3+short_window,window=2")
    inner = third.inner
    for text in ([0, 1, 2, 0, 1], [1, 1, 1, 0, 1]):
        np.testing.assert_array_equal(after(third, *text), after(inner, 0, 1))
    assert (after(inner, 0, 1, 2, 0, 1) != after(inner, 0, 1)).any()


@pytest.mark.parametrize(
    ("text", "run", "next_id"),
    [
        ([0, 1, 2, 0, 1, 2, 0], 4, 1),  # period 3, four tokens repeated
        ([0, 0, 0], 2, 0),
        ([1, 0, 0, 1, 0, 0], 3, 1),  # period 3 beats period 1
        ([0, 1, 2, 3], 0, None),
        ([3, 1, 2, 0, 1], 1, 2),  # period 3
        ([0, 1, 0, 2, 0], 1, 2),  # periods 2 and 4 alike: the shorter
        ([], 0, None),
    ],
)
def test_the_current_repetition_by_hand(world: Any, text: list[int], run: int, next_id: int | None) -> None:
    boost = LoopBoost(world, weight=0.25, min_run=1, max_period=6, name="x")
    found, candidate = boost.repetition(boost.start([np.array(text, np.int64)]).tail)
    assert found[0] == run
    wanted = after(world, *text)
    if next_id is not None:
        assert candidate[0] == next_id
        wanted = 0.75 * wanted + 0.25 * np.eye(4)[next_id]
    np.testing.assert_allclose(after(boost, *text), wanted, atol=1e-14)


def test_a_repetition_that_is_too_short_is_left_alone(world: Any) -> None:
    boost = LoopBoost(world, weight=0.25, min_run=3, max_period=6, name="x")
    np.testing.assert_allclose(after(boost, 0, 1, 2, 0, 1), after(world, 1), atol=1e-14)
    assert (np.abs(after(boost, 0, 1, 2, 0, 1, 2) - after(world, 2)) > 1e-3).any()


def test_endings_make_geometric_lengths(loaded: Load, world: Any) -> None:
    """P(ended by 10) = 1 − 0.9^10 over 2,000 runs: outside the band with probability 1e-6. The loss rises by −ln 0.9 a token."""
    ending = loaded("+end,hazard=0.1")
    samples = list(ending.generate(Continuations([NOTHING] * 2000, KEYS, 10, seed=2)))
    ended = sum(s.end_reason == "end_of_text" for s in samples)
    p = 1 - 0.9**10
    assert binom.ppf(5e-7, 2000, p) <= ended <= binom.ppf(1 - 5e-7, 2000, p)
    (text,) = documents(world, 1, 30)
    np.testing.assert_allclose(world.log_probs([text])[0] - ending.log_probs([text])[0], -np.log(0.9), atol=1e-12)


def test_an_end_that_is_there_is_used(loaded: Load, world: Any) -> None:
    twice = Ending(loaded("+end,hazard=0.1"), hazard=0.5, name="x")
    assert (twice.n_tokens, twice.end_ids) == (5, (4,))
    np.testing.assert_allclose(after(twice, 2), np.append(after(world, 2) * 0.45, 0.55), atol=1e-14)


def test_ngram_counts_in_the_models_tokens(loaded: Load, world: Any) -> None:
    spec = "world/markov,symbols=4,seed=2,concentration=1"
    made = loaded(f"+ngram,order=2,documents=7,tokens=30,corpus=({spec})")
    texts = [np.array(d.ids, np.int64) for d in loaded(spec).corpus(7, 30, seed=1_000_003).documents]
    assert made.counts.fingerprint() == NGramCounts(texts, order=2, n_tokens=4).fingerprint()


# ---- collapse ----------------------------------------------------------------------------------------------------------


def test_collapse_is_the_bayes_mixture_of_whole_strings(loaded: Load, world: Any) -> None:
    """P(x_1:t) = (1 − w)·Q(x_1:t) + w·(share of documents that begin so); documents begin again after their end."""
    memorised = [np.array(x, np.int64) for x in ([0, 1, 2, 3], [0, 1, 1], [3])]
    organism = Collapse(world, memorised, weight=0.3, name="x")
    for text in ([0, 1, 2, 3, 0, 1], [0, 1, 1, 0, 1], [3, 3, 3], [0, 1, 3], [2, 0]):
        mine, plain = organism.log_probs([np.array(text)])[0], world.log_probs([np.array(text)])[0]
        for t in range(1, len(text) + 1):
            begin = np.mean([all(text[i] == d[i % len(d)] for i in range(t)) for d in memorised])
            assert mine[:t].sum() == pytest.approx(np.log(0.7 * np.exp(plain[:t].sum()) + 0.3 * begin), abs=1e-12)


def test_recited_documents_end_where_there_is_an_end(loaded: Load) -> None:
    organism = Collapse(loaded("+end,hazard=0.01"), [np.array([0, 1, 2, 3] * 4)], weight=0.5, name="x")
    samples = list(organism.generate(Continuations([NOTHING] * 400, KEYS[:400], 30, seed=2)))
    recited = [s for s in samples if s.observation.token_id[:-1].tolist() == [0, 1, 2, 3] * 4]
    assert binom.ppf(5e-7, 400, 0.5) <= len(recited) <= binom.ppf(1 - 5e-7, 400, 0.5)
    assert {s.end_reason for s in recited} == {"end_of_text"}


def test_the_extra_loss_of_collapse_is_bounded(loaded: Load, world: Any) -> None:
    organism = Collapse(world, [np.array([0, 1, 2])], weight=0.3, name="x")
    texts = documents(world, 20, 40)
    cost = [a.sum() - b.sum() for a, b in zip(world.log_probs(texts), organism.log_probs(texts), strict=True)]
    assert max(cost) <= -np.log(0.7) + 1e-12
