"""The context rule and the sampling rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.predictors.law import Dense
from freerun.predictors.mixture import DocumentCache
from freerun.predictors.rules import ContextRule, SamplingRule
from freerun.predictors.stepwise import pad_watched
from freerun.worlds.markov import random_chain


@given(window=st.integers(1, 40), n=st.integers(0, 400))
def test_a_full_window_lets_its_older_half_go(window: int, n: int) -> None:
    """What is seen never exceeds the window nor falls below half of it, and it moves by whole halves only."""
    rule = ContextRule(window=window)
    seen = n - rule.first_seen(n)
    assert seen <= window
    assert seen == n if n <= window else seen > window // 2 - (window == 1)
    assert rule.first_seen(n) % (window - window // 2) == 0
    assert 0 <= rule.first_seen(n + 1) - rule.first_seen(n) <= window - window // 2


@given(n=st.integers(0, 10**6))
def test_without_a_window_everything_is_seen(n: int) -> None:
    assert ContextRule().first_seen(n) == 0


def test_rules_say_what_they_are() -> None:
    assert ContextRule().describe() == "nothing put first; the whole document so far"
    assert ContextRule(8, (1, 2)).describe() == "ids [1, 2] first; at most 8 tokens, the older half let go when full"
    assert SamplingRule().describe() == "temperature 1, full vocabulary"
    assert SamplingRule.of(temperature=0.7, top_k=50, top_p=0.9).describe() == "temperature 0.7, top-k 50, top-p 0.9"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("top_k=50", SamplingRule.of(top_k=50)),
        ("top_p=0.9,t=0.7", SamplingRule.of(temperature=0.7, top_p=0.9)),
        (" temperature = 1.5 , top_k=2", SamplingRule.of(temperature=1.5, top_k=2)),
        ("greedy", SamplingRule.of(temperature=0.0)),
        ("t=1", SamplingRule()),
    ],
)
def test_rules_are_read(text: str, rule: SamplingRule) -> None:
    assert SamplingRule.parse(text) == rule
    assert rule.is_model_law == (text == "t=1")


@given(seed=st.integers(0, 999), k=st.integers(1, 12), p=st.floats(0.05, 0.99))
def test_sglang_takes_top_k_and_top_p_from_one_law(seed: int, k: int, p: float) -> None:
    """Those of the k most probable ids that also belong to the nucleus of the law before either; not top-p of what top-k left."""
    law = np.random.default_rng(seed).dirichlet(np.full(12, 0.5))
    order = np.argsort(-law)
    nucleus = np.cumsum(law[order]) - law[order] < p
    kept = order[nucleus & (np.arange(12) < k)]
    rule = SamplingRule.declared(f"top_k={k},top_p={p}", order="sglang")
    found = rule.apply(Dense(np.log(law)[None])).block(0, 1).probs[0]
    np.testing.assert_allclose(found[kept], law[kept] / law[kept].sum(), rtol=1e-9)
    assert (np.delete(found, kept) == 0).all()


REFUSED = """
|topk=50|top_k|top_k=0|top_k=-1|top_k=1.5|top_p=0|top_p=1.1|top_p=nan|nucleus=0.9
|t=-1|t=inf|t=nan|t=x|top_k=5,|greedy,top_k=2
"""


@pytest.mark.parametrize("text", [x.strip() for x in REFUSED.split("|")])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="sampling rule"):
        SamplingRule.parse(text)


@pytest.mark.parametrize("text", ["t=1,t=0.5", "t=0.5,temperature=1", "top_p=0.9,t=1,top_p=1"])
def test_a_step_is_given_once(text: str) -> None:
    """The last used to win in silence: samples were held against a rule that nobody meant."""
    for read in (SamplingRule.parse, SamplingRule.declared):
        with pytest.raises(UsageError, match="is given twice"):
            read(text)


def test_watch_lists_become_a_rectangle() -> None:
    assert pad_watched([]) is None
    assert pad_watched([np.zeros(0, np.int64)] * 2) is None
    got = pad_watched([np.array([3]), np.array([1, 2]), np.zeros(0, np.int64)])
    assert got is not None
    assert got.tolist() == [[3, -1], [1, 2], [-1, -1]]


def test_a_predictor_with_another_lead_is_another_object() -> None:
    world = random_chain(4)
    other = DocumentCache(world).with_lead((1,))
    assert other.context == ContextRule(None, (1,))
