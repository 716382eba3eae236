"""The rule that an engine used is named although its laws are a little off: tokens just outside the right cut do not widen it."""

from __future__ import annotations

import numpy as np

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
