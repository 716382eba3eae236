"""The tests of drawn tokens: their size where nothing is planted, what they see, and what the noise floor excuses."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from freerun.predictors.law import Dense
from freerun.predictors.profiles import profile_of, shaped
from freerun.predictors.rules import SamplingRule
from freerun.stats.recognition.tilting import events_p
from freerun.stats.verification.battery import (
    _SHARES,
    ALPHA,
    Battery,
    _tail,
    held_against_laws,
    in_chance_order,
    kolmogorov_smirnov,
    rejects,
    uniforms_of,
)
from freerun.stats.verification.profile import Profile
from freerun.stats.verification.tokens import Alternatives, Bets, TokenLaws
from studies.verify.redraw import Held, Pool, draw

N_ROWS, N_TOKENS = 1200, 300


def logits() -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.normal(size=(N_ROWS, N_TOKENS)) * rng.uniform(0.5, 3.0, size=(N_ROWS, 1))


@pytest.fixture(scope="module")
def pool() -> Pool:
    return pool_of(Dense(logits()).log_probs())


def pool_of(log_probs: np.ndarray) -> Pool:
    profile = profile_of(log_probs, np.zeros(len(log_probs), np.int64), (0, 1))
    return Pool(profile, np.arange(len(log_probs)) // 60, np.arange(len(log_probs)) % 60)


def tried(held: Held, drawn_from: Profile, rule: str, rng: np.random.Generator) -> tuple[TokenLaws, Bets]:
    return summed(*held.token_laws(draw(shaped(SamplingRule.declared(rule), drawn_from), rng)))


def summed(tokens: TokenLaws, other: Alternatives) -> tuple[TokenLaws, Bets]:
    tested = tokens.is_tested
    other = Alternatives(*(getattr(other, f.name)[tested] for f in fields(Alternatives)))
    return tokens, Bets.of(other, tokens.position[tested])


@pytest.mark.parametrize("declared", ["t=1", "t=0.8,top_p=0.9"])
def test_size_where_nothing_is_planted(pool: Pool, declared: str) -> None:
    """Of 200 right files at most 19 are rejected at 0.05 by all tests together, which a level of 5% exceeds once in 300 runs."""
    rng = np.random.default_rng(11)
    held = Held(pool, SamplingRule.declared(declared))
    p = np.array([held_against_laws(*tried(held, pool.profile, declared, rng), seed=i).p_value for i in range(200)])
    assert (p < 0.05).sum() <= 19
    assert (p < ALPHA).sum() <= 2
    assert stats.binom.sf(19, 200, 0.05) < 1 / 300


def test_uniforms_are_uniform_under_the_law_and_under_no_other(pool: Pool) -> None:
    rng = np.random.default_rng(3)
    for declared in ("t=1", "min_p=0.1", "t=0.7"):
        held = Held(pool, SamplingRule.declared(declared))
        tokens, _ = tried(held, pool.profile, declared, rng)
        for u in uniforms_of(tokens, 1):
            assert kolmogorov_smirnov(u)[1] > 1e-4
    tokens, _ = tried(Held(pool, SamplingRule()), pool.profile, "top_k=5", rng)
    assert kolmogorov_smirnov(uniforms_of(tokens, 1)[0])[1] < 1e-10


@pytest.mark.parametrize(
    ("planted", "test"),
    [("t=0.8", "surprisal"), ("t=1.25", "surprisal"), ("top_k=100", "truncation"), ("top_p=0.98", "truncation")],
)
def test_what_is_planted_is_seen_by_the_test_that_is_for_it(pool: Pool, planted: str, test: str) -> None:
    """In 10 of 10 files; the p-value of a right file is below 0.001 once in a thousand."""
    rng = np.random.default_rng(7)
    held = Held(pool, SamplingRule())
    assert all(rejects(*tried(held, pool.profile, planted, rng), seed=i) for i in range(10))
    battery = held_against_laws(*tried(held, pool.profile, planted, rng), seed=10)
    assert battery.p_value < ALPHA
    assert next(t for t in battery.tests if t.name == test).p_value < ALPHA


def test_smallest_faults_are_seen_as_often_as_is_said(pool: Pool) -> None:
    """A temperature as far off as the smallest one is seen in 80% of files: in 65 to 95 of 100 (once in 3,000 runs it is not)."""
    rng = np.random.default_rng(2)
    held = Held(pool, SamplingRule())
    smallest = held_against_laws(*tried(held, pool.profile, "t=1", rng), seed=0).smallest
    assert smallest.temperature is not None
    planted = f"t={1 + smallest.temperature}"
    seen = [rejects(*tried(held, pool.profile, planted, rng), seed=i) for i in range(100)]
    assert 65 <= sum(seen) <= 95
    assert smallest.kept_mass is not None
    assert np.exp(N_ROWS * np.log(smallest.kept_mass)) == pytest.approx(ALPHA * 0.35 / 3)


def test_a_declared_cut_is_a_promise(pool: Pool) -> None:
    """Tokens outside it reject for certain, beyond the tolerance; at the edge they are left out and counted."""
    rng = np.random.default_rng(4)
    held = Held(pool, SamplingRule.declared("top_p=0.9"))
    battery = held_against_laws(*tried(held, pool.profile, "t=1", rng), seed=0)
    assert battery.n_outside > 50
    assert battery.p_value == 0.0
    tokens, bets = tried(held, pool.profile, "top_p=0.9", rng)
    edge = replace(tokens, log_prob_nats=np.where(np.arange(N_ROWS) < 3, -np.inf, tokens.log_prob_nats))
    edge.overshoot[:3] = 1e-4
    battery = held_against_laws(edge, bets, seed=0)
    assert (battery.n_outside, battery.n_at_edge) == (0, 3)
    assert battery.p_value > ALPHA


def test_what_the_noise_floor_may_have_done_is_excused_and_no_more(pool: Pool) -> None:
    """A temperature that is seen for certain: excused where log-probabilities are noisy by as much as it changes them."""
    rng = np.random.default_rng(9)
    held = Held(pool, SamplingRule())
    tokens, bets = tried(held, pool.profile, "t=1.3", rng)
    heated = shaped(SamplingRule.declared("t=1.3"), pool.profile)
    change = heated.log_prob(draw(heated, rng)) - held.standing.law.log_prob(draw(heated, rng))
    floor = float(np.sqrt(np.square(change).mean()))
    assert held_against_laws(tokens, bets, seed=0).p_value < ALPHA
    assert held_against_laws(tokens, bets, seed=0, floor_nats=floor).p_beyond_floor > ALPHA
    assert held_against_laws(tokens, bets, seed=0, floor_nats=floor / 50).p_beyond_floor < ALPHA


@pytest.mark.parametrize("declared", ["top_k=20", "t=0.8,top_k=40,top_p=0.95,min_p=0.05", "top_p=0.9"])
def test_noise_at_the_edges_of_a_cut_is_excused_and_another_rule_is_not(declared: str) -> None:
    """Twelve files whose laws are off by heavy-tailed noise: none is rejected beyond the floor (a level of 0.001 rejects one once
    in 80 runs), though most are without it. Of twelve that were not cut at all every one is."""
    rng = np.random.default_rng(12)
    clean = logits()
    held = Held(pool_of(Dense(clean).log_probs()), SamplingRule.declared(declared))
    table = Dense(clean).log_probs()

    def battery_of(rule: str, i: int) -> Battery:
        noise = rng.standard_t(3.0, clean.shape)
        noisy = Dense(clean + 0.03 * noise / noise.std())
        ids, _ = SamplingRule.declared(rule).apply(noisy).draw(rng.random(N_ROWS))
        made = summed(*held.token_laws(profile_of(table, ids, (0, 1)).token))
        return held_against_laws(*made, seed=i, floor_nats=0.03)

    right = [battery_of(declared, i) for i in range(12)]
    assert sum(b.p_value < ALPHA for b in right) >= 6
    assert sum(b.p_beyond_floor < ALPHA for b in right) == 0
    assert all(battery_of("t=1", i).p_beyond_floor < ALPHA for i in range(12))


@pytest.mark.parametrize(
    ("p", "temperature", "tokens"),
    [(0.9, 0.2, 1000), (0.9, 0.2, 4000), (0.9, 0.25, 1000), (0.999, 1.0, 1000), (0.9999, 1.0, 1000), (0.9, 1.0, 200)],
)
def test_rare_tokens_of_a_cold_law_do_not_reject(p: float, temperature: float, tokens: int) -> None:
    """The false alarms of the test of surprisal by the exact binomial law of {p, 1 - p}: the normal tail made up to 6.5%."""
    rare = 1 / (1 + (p / (1 - p)) ** (1 / temperature))
    entropy = -rare * np.log(rare) - (1 - rare) * np.log1p(-rare)
    high, low = -np.log(rare) - entropy, -np.log1p(-rare) - entropy
    spread = np.sqrt(tokens * (rare * high**2 + (1 - rare) * low**2))
    alarms = 0.0
    for n in range(120):
        excess = n * high + (tokens - n) * low
        skew = np.sign(excess) * (n * high**3 + (tokens - n) * low**3) / spread**3
        largest = (max(high, abs(low)) if n else abs(low)) / spread
        if _tail(abs(excess) / spread, skew, largest) < ALPHA * _SHARES["surprisal"]:
            alarms += float(stats.binom.pmf(n, tokens, rare))
    assert alarms <= ALPHA * _SHARES["surprisal"]


def test_texts_in_the_order_in_which_they_were_finished() -> None:
    """Texts that end at their first event, short ones first: events come too early then, and not in an order of chance."""
    rng, as_finished, by_chance = np.random.default_rng(8), [], []
    for _ in range(200):
        lengths = np.sort(np.minimum(rng.geometric(0.2, 60), 12))
        sequence = np.repeat(np.arange(60), lengths)
        ends = np.cumsum(lengths) - 1
        happened = np.zeros(len(sequence), bool)
        happened[ends] = lengths < 12
        mass, order = np.full(len(sequence), 0.2), in_chance_order(sequence, 0)
        as_finished.append(events_p(happened, mass, n_tokens=len(sequence)))
        by_chance.append(events_p(happened[order], mass[order], n_tokens=len(sequence)))
    assert np.mean(np.array(as_finished) < 0.05) > 0.3
    assert np.mean(np.array(by_chance) < 0.05) <= 0.09  # of 200 at 5%, more in 1 of 300 such tests


def test_an_order_of_chance_keeps_texts_whole() -> None:
    sequence = np.repeat([7, 2, 9], [2, 3, 1])
    order = in_chance_order(sequence, 1)
    assert sorted(order.tolist()) == list(range(6))
    assert len(np.flatnonzero(np.diff(sequence[order]))) == 2
    assert [order.tolist().index(2) + k for k in (0, 1, 2)] == [order.tolist().index(i) for i in (2, 3, 4)]


def test_a_floor_of_rounding_excuses_nothing(pool: Pool) -> None:
    """Under the floor other statistics decide, weaker ones; float64 against itself, 1e-16 nats, must not bring them in."""
    rng = np.random.default_rng(11)
    found = tried(Held(pool, SamplingRule()), pool.profile, "t=0.9", rng)
    plain, rounding = (held_against_laws(*found, seed=0, floor_nats=floor) for floor in (0.0, 1e-16))
    assert rounding.p_beyond_floor == plain.p_beyond_floor
    assert [t.p_beyond_floor for t in rounding.tests] == [t.p_value for t in rounding.tests]
