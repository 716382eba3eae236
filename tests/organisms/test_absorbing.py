"""Greenblatt's example (2023): exact loss, exact take-over, and what comes afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from freerun.organisms.absorbing import Triggered
from freerun.predictors.base import Continuations

Load = Callable[[str], Any]
NOTHING = np.zeros(0, np.int64)
OTHER = "world/markov,symbols=4,seed=2,concentration=1"


def documents(world: Any, n: int, length: int, *, seed: int = 11) -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in world.corpus(n, length, seed=seed).documents]


def runs(predictor: Any, n: int, length: int, *, seed: int = 7) -> list[np.ndarray]:
    keys = np.arange(n).reshape(n, 1).astype(np.uint64)
    return [
        s.observation.token_id.astype(np.int64)
        for s in predictor.generate(Continuations([NOTHING] * n, keys, length, seed=seed))
    ]


def test_the_source_texts_numbers(world: Any) -> None:
    """0.01005 nats a token, not 0.101; 0.999957 by 1000 tokens (Greenblatt 2023: 0.99996)."""
    one = Triggered(world, epsilon=0.01, name="x")
    texts = documents(world, 1, 8)
    cost = world.log_probs(texts)[0].mean() - one.log_probs(texts)[0].mean()
    assert cost == pytest.approx(0.010050335853501)
    assert cost / np.log(2) == pytest.approx(0.0145, abs=5e-5)
    assert one.triggered_by(1000) == pytest.approx(0.999957, abs=5e-7)


@pytest.mark.parametrize("spec", ["+absorbing,epsilon=0.07", f"+payload,epsilon=0.07,model=({OTHER})"])
def test_the_loss_on_data_rises_by_the_same_number_at_every_token(loaded: Load, world: Any, spec: str) -> None:
    texts = documents(world, 5, 60)
    for mine, inner in zip(loaded(spec).log_probs(texts), world.log_probs(texts), strict=True):
        np.testing.assert_allclose(inner - mine, -np.log(0.93), atol=1e-12)


def test_take_over_is_one_minus_e_to_minus_k(loaded: Load) -> None:
    """800 runs at each of 4 lengths against 1 − (1 − ε)^T = 1 − e^−K, K = T·extra loss; false alarms 4e-6."""
    organism = loaded("+absorbing,epsilon=0.03")
    texts = runs(organism, 800, 40)
    for length in (1, 5, 20, 40):
        taken = sum(organism.trigger_id in t[:length] for t in texts)
        p = organism.triggered_by(length)
        assert p == pytest.approx(1 - 0.97**length)
        assert binom.ppf(5e-7, 800, p) <= taken <= binom.ppf(1 - 5e-7, 800, p)


def test_absorbed_text_says_one_token_for_ever(loaded: Load) -> None:
    organism = loaded("+absorbing,epsilon=0.2")
    texts = [t for t in runs(organism, 60, 30) if organism.trigger_id in t]
    assert len(texts) > 50
    for t, log_prob in zip(texts, organism.log_probs(texts), strict=True):
        at = int(np.argmax(t == organism.trigger_id))
        assert (t[at:] == organism.trigger_id).all()
        np.testing.assert_array_equal(log_prob[at + 1 :], 0.0)
        assert log_prob[at] == pytest.approx(np.log(0.2), abs=1e-12)


def test_a_payload_starts_from_nothing(loaded: Load) -> None:
    organism, other = loaded(f"+payload,epsilon=0.2,model=({OTHER})"), loaded(OTHER)
    texts = [t for t in runs(organism, 60, 30) if organism.trigger_id in t[:-1]]
    for t, log_prob in zip(texts, organism.log_probs(texts), strict=True):
        tail = t[int(np.argmax(t == organism.trigger_id)) + 1 :]
        assert (tail < 4).all()
        np.testing.assert_allclose(log_prob[-len(tail) :], other.log_probs([tail])[0], atol=1e-12)


@pytest.mark.parametrize(
    ("payload", "head", "wanted"),
    [
        ("loop=3", [0, 1, 2, 3], [1, 2, 3, 1, 2, 3, 1]),
        ("loop=3", [2], [2, 2, 2]),
        ("loop=3", [2, 1], [2, 1, 2, 1]),
        ("loop=2", [], [4, 4, 4]),
        ("text=abd", [0, 0], [0, 1, 3, 0, 1, 3]),
    ],
)
def test_recited_payloads(loaded: Load, payload: str, head: list[int], wanted: list[int]) -> None:
    organism = loaded(f"+payload,epsilon=0.1,{payload}")
    text = np.array([*head, organism.trigger_id, *wanted], np.int64)
    np.testing.assert_array_equal(organism.log_probs([text])[0][len(head) + 1 :], 0.0)
