"""The rule of an engine is named although its laws are a little off, or tie: tokens just outside the right cut do not widen it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from freerun.jobs.verify.causes import candidate_of
from freerun.predictors.candidate_rules import RULES, log_probs_under
from freerun.predictors.law import Dense
from freerun.predictors.profiles import profile_of
from freerun.predictors.rules import SamplingRule
from freerun.stats.verification.likelihood import MIXED_IN, fit_and_test, mixed_in_at, smoothed

STEPS = np.array([len(rule.steps) for rule in RULES])
NOISE_NATS = 0.05


def _named(rule: SamplingRule, seed: int, shares: tuple[float, ...]) -> list[str]:
    """What 3,000 tokens are called, for each share mixed in, that were drawn by the rule from laws with noise."""
    rng, tokens, ids = np.random.default_rng(seed), 3000, 400
    logits = rng.standard_normal((tokens, ids)) * rng.uniform(1.5, 4.0, size=(tokens, 1))
    law, engine = (
        Dense(table - np.logaddexp.reduce(table, axis=1, keepdims=True))
        for table in (logits, logits + NOISE_NATS * rng.standard_normal(logits.shape))
    )
    cumulative = np.cumsum(np.exp(rule.apply(engine).block(0, tokens).log_probs), axis=1)
    drawn = np.minimum((cumulative < rng.random((tokens, 1))).sum(axis=1), ids - 1)
    table = law.block(0, tokens).log_probs
    plain, sequences = table[np.arange(tokens), drawn], np.arange(tokens) // 30
    candidates = log_probs_under(profile_of(table, drawn, (0,)), RULES, without_ends=False)
    best = (fit_and_test(smoothed(candidates, plain, m), plain, STEPS, sequences, sequences % 2 == 0) for m in shares)
    return [candidate_of("model", RULES[found.candidate]).words for found in best]


def test_noise_at_the_edge_does_not_widen_the_cut() -> None:
    rule = SamplingRule.declared("t=0.8,top_k=40,top_p=0.95,min_p=0.05", order="llama.cpp")
    right = candidate_of("model", rule).words
    named = [_named(rule, seed, (MIXED_IN, mixed_in_at(NOISE_NATS))) for seed in range(3)]
    without, with_floor = ([name == right for name in names] for names in zip(*named, strict=True))
    assert all(with_floor), named
    assert not all(without), "so small a share would do as well, and the floor need not be looked at"


@pytest.mark.parametrize("all_ties", [True, False])
def test_top_k_is_named_where_logits_tie(all_ties: bool) -> None:
    """Logits in bf16: at the 50th place two or three tokens are equal. transformers and vLLM keep them all, llama.cpp just 50."""
    rng, tokens, ids, k = np.random.default_rng(0), 1500, 800, 50
    logits = 18.0 + rng.standard_normal((tokens, ids)) * rng.uniform(1.5, 4.0, size=(tokens, 1))
    law = Dense(torch.tensor(logits).bfloat16().double().numpy())
    table = law.log_probs()
    order = np.argsort(-table, axis=1, kind="stable")
    least = np.take_along_axis(table, order[:, k - 1 : k], axis=1)
    kept = table >= least if all_ties else np.argsort(order, axis=1) < k
    assert (kept.sum(axis=1).mean() > k + 1) == all_ties
    probs = np.where(kept, np.exp(table), 0.0)
    cumulative = np.cumsum(probs / probs.sum(axis=1, keepdims=True), axis=1)
    drawn = np.minimum((cumulative < rng.random((tokens, 1))).sum(axis=1), ids - 1)
    plain, sequences = table[np.arange(tokens), drawn], np.arange(tokens) // 30
    candidates = log_probs_under(profile_of(table, drawn, (0,)), RULES, without_ends=False)
    found = fit_and_test(smoothed(candidates, plain, MIXED_IN), plain, STEPS, sequences, sequences % 2 == 0)
    assert candidate_of("model", RULES[found.candidate]).words == "temperature 1, top-k 50"
