"""A rule on a profile gives what the same rule gives on the law itself, computed the long way."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.predictors.law import Dense
from freerun.predictors.profiles import profile_of, shaped
from freerun.predictors.reshaped import AboveShare, Penalised, Penalties, Said
from freerun.predictors.rules import SamplingRule
from freerun.predictors.token_laws import Declared, by_id

ENDS = (3, 17)
RULES = [
    "t=1",
    "t=0.7",
    "t=1.3",
    "top_k=50",
    "top_k=3000",
    "top_p=0.9",
    "top_p=0.9999",
    "min_p=0.05",
    "t=0.7,top_k=40,top_p=0.8",
    "t=1.5,top_p=0.95,min_p=0.01",
]
ORDERS = ["vllm", "transformers", "llama.cpp"]


def table(n_tokens: int, n_rows: int = 6) -> np.ndarray:
    rng = np.random.default_rng(n_tokens)
    logits = rng.normal(size=(n_rows, n_tokens)) * np.linspace(1.0, 4.0, n_rows)[:, None]
    logits[0, : n_tokens // 4] = 1.0  # ties
    return logits


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("n_tokens", [40, 5000])
def test_a_rule_on_a_profile_is_the_rule_on_the_law(n_tokens: int, text: str, order: str) -> None:
    rule = SamplingRule.declared(text, order=order)
    law = Dense(table(n_tokens))
    exact = rule.apply(law)
    rows, ids = np.arange(law.n_rows), exact.sample(np.linspace(0.05, 0.95, law.n_rows))
    profile = profile_of(law.log_probs(), ids, ENDS)
    got = shaped(rule, profile)
    assert got.cut.keeps(profile.token).all()
    log_probs = exact.log_probs()
    tight = n_tokens == 40
    tolerance = 1e-6 if tight else 3e-3
    np.testing.assert_allclose(got.log_prob(profile.token), log_probs[rows, ids], atol=tolerance)
    np.testing.assert_allclose(got.end_mass, exact.mass(ENDS), atol=tolerance)
    seen = exact.observe(ids)
    entropy, variance = got.surprisal_moments()
    np.testing.assert_allclose(entropy, seen.entropy_nats, atol=tolerance)
    np.testing.assert_allclose(variance, seen.varentropy_nats2, atol=10 * tolerance)
    np.testing.assert_allclose(got.before(profile.token), seen.mass_above, atol=tolerance)
    without = np.exp(log_probs)
    without[:, ENDS] = 0.0
    of_no_end = Dense(np.log(np.maximum(without, 1e-300)))
    inside = ~np.isin(ids, ENDS)
    seen = of_no_end.observe(ids)
    got = shaped(rule, profile, without_ends=True)
    np.testing.assert_allclose(got.log_prob(profile.token)[inside], seen.log_prob_nats[inside], atol=tolerance)
    np.testing.assert_allclose(got.before(profile.token)[inside], seen.mass_above[inside], atol=tolerance)
    np.testing.assert_allclose(got.surprisal_moments()[0], seen.entropy_nats, atol=tolerance)


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("n_tokens", [40, 5000])
def test_the_law_by_ids_is_the_rule_on_the_law(n_tokens: int, text: str) -> None:
    rule, law = SamplingRule.declared(text), Dense(table(n_tokens))
    log_probs = law.log_probs()
    got = shaped(rule, profile_of(log_probs, np.zeros(law.n_rows, np.int64), ENDS))
    wanted = np.exp(rule.apply(law).log_probs())
    np.testing.assert_allclose(
        by_id(got, log_probs, Declared(rule, ENDS)), wanted, atol=1e-6 if n_tokens == 40 else 1e-3
    )


@pytest.mark.parametrize(
    ("text", "probs", "kept"),
    [
        ("top_k=2", [0.4, 0.2, 0.2, 0.2], [0.4 / 0.6, 0.2 / 0.6, 0, 0]),
        ("top_p=0.5", [0.5, 0.5], [1, 0]),
        ("top_p=0.6", [0.4, 0.3, 0.3], [0.4 / 0.7, 0.3 / 0.7, 0]),
        ("top_k=3,top_p=0.5", [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]),
    ],
)
def test_of_equals_the_smaller_ids_are_kept(text: str, probs: list[float], kept: list[float]) -> None:
    rule, log_probs = SamplingRule.declared(text), np.log(np.array([probs]))
    got = shaped(rule, profile_of(log_probs, np.zeros(1, np.int64), ()))
    np.testing.assert_allclose(by_id(got, log_probs, Declared(rule, ()))[0], kept, atol=1e-7)


@pytest.mark.parametrize(("text", "token"), [("top_k=2", 3), ("top_p=0.5", 3), ("top_k=2,top_p=0.9", 3)])
def test_a_token_as_probable_as_the_last_one_kept_is_hardly_outside(text: str, token: int) -> None:
    """Engines that cut by value keep all of them; a token that is less probable is outside by what stands between."""
    log_probs = np.log(np.array([[0.4, 0.15, 0.15, 0.15, 0.1, 0.05]]))
    rule = SamplingRule.declared(text, order="transformers")
    for ids, least, most in ((np.array([token]), 0.0, 1e-6), (np.array([5]), 0.04, 1.0)):
        profile = profile_of(log_probs, ids, ())
        overshoot = float(shaped(rule, profile).overshoot(profile.token)[0])
        assert least < overshoot < most


def test_what_a_rule_cuts_off_has_no_mass() -> None:
    law = Dense(table(5000))
    least = law.log_probs().argmin(axis=1)
    for text in ("top_k=50", "top_p=0.9", "min_p=0.05", "top_k=4000"):
        profile = profile_of(law.log_probs(), least, ENDS)
        assert np.isneginf(shaped(SamplingRule.declared(text), profile).log_prob(profile.token)).all(), text


def test_min_p_and_penalties_by_hand() -> None:
    law = Dense(np.log(np.array([[0.5, 0.3, 0.15, 0.05]])))
    np.testing.assert_allclose(AboveShare(law, 0.4).probs(), [[0.625, 0.375, 0.0, 0.0]])
    said = Said(prompt=np.array([0]), written=np.array([1, 1]))
    logits = np.array([[2.0, -1.0, 0.0, 0.0]])
    row = Penalised(Dense(logits), Penalties(2.0, presence=0.5, frequency=0.25), [said]).log_probs()
    by_hand = np.array([1.0, -2.0 - 0.5 - 0.5, 0.0, 0.0])
    np.testing.assert_allclose(row[0], by_hand - np.log(np.exp(by_hand).sum()))


def test_steps_follow_one_another_each_on_what_is_left() -> None:
    """0.45 and 0.3 of 0.75 left by top-k 2: top-p 0.6 of that keeps the first alone; of the whole law it would keep both."""
    law = Dense(np.log(np.array([[0.45, 0.3, 0.15, 0.1]])))
    np.testing.assert_allclose(SamplingRule.of(top_k=2, top_p=0.6).apply(law).probs(), [[1.0, 0.0, 0.0, 0.0]])


def test_declared_rules_have_the_order_of_the_engine() -> None:
    text = "top_p=0.9,t=0.7,top_k=-1,min_p=0,repetition_penalty=1.1,presence_penalty=0"
    assert SamplingRule.declared(text).describe() == "repetition penalty 1.1, temperature 0.7, top-p 0.9"
    assert (
        SamplingRule.declared(text, order="llama.cpp").describe()
        == "repetition penalty 1.1, top-p 0.9, temperature 0.7"
    )
    assert SamplingRule.declared("top_p=0.9,t=0.7", order="typed").describe() == "top-p 0.9, temperature 0.7"
    assert SamplingRule.declared("t=1,top_p=1,top_k=0").is_model_law
    with pytest.raises(UsageError, match="no engine 'tgi'"):
        SamplingRule.declared("t=1", order="tgi")
    with pytest.raises(UsageError, match="temperature 0 leaves nothing"):
        shaped(SamplingRule.declared("greedy"), profile_of(np.log(np.full((1, 2), 0.5)), np.zeros(1, np.int64), (0,)))


def test_what_stands_between_counts_where_probabilities_are_alike() -> None:
    """Ten ids of nearly 0.1: top-k 2 has the next at its edge, and 0.1 of mass stands between it and the one after. Of ten equals
    any two may be kept, or all."""
    near = np.log(np.full((10, 10), 0.1)) - 1e-5 * np.arange(10)
    for law, between in ((near, 0.1 * np.arange(1, 8)), (np.log(np.full((10, 10), 0.1)), np.zeros(7))):
        token = profile_of(law, np.arange(10), (0,))
        overshoot = shaped(SamplingRule.declared("top_k=2"), token).overshoot(token.token)
        assert 0 < overshoot[2] < 1e-5
        assert overshoot[3:] == pytest.approx(between, abs=1e-4)


def test_how_far_outside_a_token_is() -> None:
    """Laws .5 .3 .15 .05, by hand; a token that is kept is not outside at all."""
    law = np.log(np.array([[0.5, 0.3, 0.15, 0.05]] * 4))
    token = profile_of(law, np.arange(4), (0,))

    def outside(rule: str) -> list[float]:
        return [round(float(x), 9) for x in shaped(SamplingRule.declared(rule), token).overshoot(token.token)]

    assert outside("top_p=0.6") == pytest.approx([0, 0, 0.2, 0.35], abs=1e-6)
    assert outside("top_k=2") == pytest.approx([0, 0, 0.3 - 0.15, 0.3 - 0.05], abs=1e-6)  # less probable by so much
    assert outside("min_p=0.5") == pytest.approx([0, 0, 0.1, 0.2], abs=1e-6)
    assert outside("t=1,top_k=1") == pytest.approx([0, 0.2, 0.35, 0.45], abs=1e-6)
    assert outside("top_k=3,top_p=0.6") == pytest.approx([0, 0, 0.8 - 0.57, 0.95 - 0.57], abs=1e-6)
