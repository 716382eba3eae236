"""One contract over every kind of predictor: the scorer is the sampler is the step path, whatever the batch."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.predictors.base import Continuations, Predictor, Sample
from freerun.predictors.draws import uniforms
from freerun.predictors.observation import Observation
from freerun.predictors.rules import SamplingRule
from freerun.stats.loops.lag_runs import LoopRule, first_loop

Kind = Any  # of conftest.py, which tests cannot import
LENGTHS = (19, 5, 2, 35)
"""Ragged, and beyond the windows of the tiny models (16 and 32 tokens)."""
SHORT_LOOPS = LoopRule(copies=2, min_tokens=3, max_period=4)


# ---- the same things, spelled out -------------------------------------------------------------------------------------


def table_after(predictor: Predictor, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities after one context, read afresh."""
    return predictor.law(predictor.start([ids])).log_probs()[0]


def scored(predictor: Predictor, sequences: list[np.ndarray], *, first: int = 1, **options: Any) -> list[Observation]:
    """Each sequence's observations in order of position; every (row, position) must come exactly once."""
    row, position, seen = [], [], []
    for chunk in predictor.score(sequences, first=first, **options):
        assert len(chunk.row) == len(chunk.position) == len(chunk.observation.token_id)
        row.append(chunk.row)
        position.append(chunk.position)
        seen.append(chunk.observation)
    rows, positions, every = np.concatenate(row), np.concatenate(position), Observation.concatenate(seen)
    out = []
    for i, s in enumerate(sequences):
        mine = np.flatnonzero(rows == i)
        mine = mine[np.argsort(positions[mine])]
        assert positions[mine].tolist() == list(range(first, len(s)))
        assert every.token_id[mine].tolist() == s[first:].tolist()
        out.append(every.take(mine))
    return out


def assert_same(seen: Observation, wanted: Observation, kind: Kind) -> None:
    """Equal within what the kind's arithmetic promises; ranks may differ by one where two ids are as good as equal."""
    for f in fields(Observation):
        a, b = getattr(seen, f.name), getattr(wanted, f.name)
        if f.name == "rank":
            assert (np.abs(a - b) <= (0 if kind.atol_nats < 1e-6 else 1)).all()
        elif (
            f.name == "expected_counts" and kind.atol_nats > 1e-6
        ):  # an id at the edge of a bin may fall on either side
            np.testing.assert_allclose(a.sum(1), b.sum(1), atol=1e-9)
            assert np.abs(a - b).sum(1).mean() < 0.02
        else:
            np.testing.assert_allclose(a, b, rtol=kind.atol_nats, atol=kind.atol_nats, err_msg=f.name)


def ran(
    predictor: Predictor, prefixes: list[np.ndarray], keys: Any, length: int, *, on_tokens: Any = None, **options: Any
) -> list[Sample]:
    asked = Continuations(prefixes, np.asarray(keys, np.uint64), length, **{"seed": 5, **options})
    samples = list(predictor.generate(asked, on_tokens=on_tokens))
    assert sorted(s.row for s in samples) == list(range(np.size(keys)))
    return sorted(samples, key=lambda s: s.row)


def with_ends(predictor: Predictor, ends: tuple[int, ...]) -> Predictor:
    other = copy.copy(predictor)
    other.end_ids = ends
    return other


# ---- scoring ---------------------------------------------------------------------------------------------------------


def test_scores_are_the_laws_of_the_step_path(kind: Kind) -> None:
    sequences = kind.sequences(1, LENGTHS)
    for i, seen in enumerate(scored(kind.predictor, sequences)):
        state = kind.predictor.start([sequences[i][:1]])
        for t in range(1, len(sequences[i])):
            ids = sequences[i][t : t + 1]
            assert_same(seen.take([t - 1]), kind.predictor.law(state).observe(ids), kind)
            state = kind.predictor.advance(state, ids)


def test_scores_are_the_laws_after_each_context_read_afresh(kind: Kind) -> None:
    (sequence,) = kind.sequences(2, (37,))
    (seen,) = scored(kind.predictor, [sequence], first=3)
    for t in range(3, 37):
        table = table_after(kind.predictor, sequence[:t])
        np.testing.assert_allclose(seen.log_prob_nats[t - 3], table[sequence[t]], atol=kind.atol_nats)
        np.testing.assert_allclose(seen.top_log_prob_nats[t - 3], table.max(), atol=kind.atol_nats)


def test_a_batch_is_its_rows_one_by_one(kind: Kind) -> None:
    sequences = kind.sequences(3, LENGTHS)
    for first in (1, 18):
        together = scored(kind.predictor, sequences, first=first)
        for sequence, seen in zip(sequences, together, strict=True):
            if len(sequence) > first:
                assert_same(seen, scored(kind.predictor, [sequence], first=first)[0], kind)
            else:
                assert len(seen.token_id) == 0


def test_log_probs_are_those_of_the_score(kind: Kind) -> None:
    sequences = kind.sequences(4, LENGTHS)
    for first in (1, 34):
        for mine, plain, seen in zip(
            kind.predictor.log_probs(sequences, first=first),
            Predictor.log_probs(kind.predictor, sequences, first=first),
            scored(kind.predictor, sequences, first=first),
            strict=True,
        ):
            np.testing.assert_allclose(mine, seen.log_prob_nats, rtol=1e-12, atol=kind.atol_nats)
            np.testing.assert_allclose(plain, seen.log_prob_nats, rtol=0, atol=0)


def test_nothing_to_score_gives_nothing(kind: Kind) -> None:
    sequences = kind.sequences(5, (3, 2))
    assert list(kind.predictor.score(sequences, first=3)) == []
    assert [len(x) for x in kind.predictor.log_probs(sequences, first=3)] == [0, 0]
    assert [len(x) for x in kind.predictor.log_probs(sequences, first=2)] == [1, 0]
    assert list(kind.predictor.score([], first=1)) == []


def test_loop_mass_is_the_mass_of_all_ids_that_complete_a_loop(kind: Kind) -> None:
    rng = np.random.default_rng(6)
    sequence = rng.integers(0, min(kind.n_ids, 3), 24)
    (seen,) = scored(kind.predictor, [sequence], loop_rule=SHORT_LOOPS)
    wanted = []
    for t in range(1, 24):
        probs = np.exp(table_after(kind.predictor, sequence[:t]))
        completing = [
            i
            for i in range(kind.predictor.n_tokens)
            if first_loop(np.append(sequence[:t], i), SHORT_LOOPS, start=t) == t
        ]
        wanted.append(probs[completing].sum())
    assert max(wanted) > 0
    np.testing.assert_allclose(seen.loop_mass, wanted, atol=kind.atol_nats)


# ---- the first token -------------------------------------------------------------------------------------------------


def test_the_first_token_has_a_law_or_is_refused(kind: Kind) -> None:
    predictor, sequences = kind.predictor, kind.sequences(7, (6, 3))
    nothing = np.zeros(0, np.int64)
    if predictor.context.lead or predictor.capabilities.empty_context:
        seen = scored(predictor, sequences, first=0)
        for sequence, one in zip(sequences, seen, strict=True):
            np.testing.assert_allclose(
                one.log_prob_nats[0], table_after(predictor, nothing)[sequence[0]], atol=kind.atol_nats
            )
        (sample,) = ran(predictor, [nothing], [[9]], 3)
        again = scored(predictor, [sample.observation.token_id.astype(np.int64)], first=0)
        assert_same(sample.observation, again[0], kind)
        return
    with pytest.raises(UsageError, match="no law before the first token"):
        list(predictor.score(sequences, first=0))
    with pytest.raises(UsageError, match="no law before the first token"):
        predictor.start([sequences[0], nothing])
    with pytest.raises(UsageError, match="no law before the first token"):
        list(predictor.generate(Continuations([nothing], np.zeros((1, 1), np.uint64), 3, seed=0)))


# ---- running free ----------------------------------------------------------------------------------------------------


def test_the_samplers_numbers_are_the_scorers(kind: Kind) -> None:
    predictor = with_ends(kind.predictor, ())
    prefixes = kind.sequences(8, (4, 9, 2))
    keys = np.arange(6).reshape(3, 2)
    samples = ran(predictor, prefixes, keys, 36, loop_rule=SHORT_LOOPS)
    whole = [np.concatenate([prefixes[s.row // 2], s.observation.token_id]).astype(np.int64) for s in samples]
    for sample, sequence in zip(samples, whole, strict=True):
        first = len(prefixes[sample.row // 2])
        assert sample.end_reason == "length"
        assert sample.sample_log_prob_nats is None
        (seen,) = scored(predictor, [sequence], first=first, loop_rule=SHORT_LOOPS)
        assert_same(sample.observation, seen, kind)
        np.testing.assert_array_equal(sample.uniform, uniforms(5, sample.row, 36))
        lies = sample.observation.cdf_below + np.exp(sample.observation.log_prob_nats)
        assert (sample.observation.cdf_below <= sample.uniform + 1e-9).all()
        assert (sample.uniform <= lies + 1e-9).all()


def test_a_sample_depends_on_its_key_and_prefix_and_not_on_its_company(kind: Kind) -> None:
    prefixes = kind.sequences(9, (4, 9, 2, 17))
    keys = np.array([[11, 12], [13, 14], [15, 16], [17, 18]])
    together = {int(keys.ravel()[s.row]): s for s in ran(kind.predictor, prefixes, keys, 12)}
    backwards = ran(kind.predictor, prefixes[::-1], keys[::-1, ::-1], 12)
    alone = [ran(kind.predictor, [prefixes[i]], [[keys[i, j]]], 12)[0] for i in range(4) for j in range(2)]
    for key, sample in [*zip(keys[::-1, ::-1].ravel(), backwards, strict=True), *zip(keys.ravel(), alone, strict=True)]:
        other = together[int(key)]
        assert sample.observation.token_id.tolist() == other.observation.token_id.tolist()
        assert sample.end_reason == other.end_reason
        assert_same(sample.observation, other.observation, kind)
    a, b = together[11].observation.token_id.tolist(), together[12].observation.token_id.tolist()
    assert a != b
    assert a != ran(kind.predictor, prefixes[:1], [[11]], 12, seed=6)[0].observation.token_id.tolist()


def test_a_longer_run_begins_as_the_shorter_one(kind: Kind) -> None:
    predictor = with_ends(kind.predictor, ())
    prefixes = kind.sequences(10, (3, 5))
    for short, long in zip(
        ran(predictor, prefixes, [[1], [2]], 6), ran(predictor, prefixes, [[1], [2]], 20), strict=True
    ):
        assert long.observation.token_id[:6].tolist() == short.observation.token_id.tolist()


def test_rows_stop_at_end_ids_and_the_others_go_on_as_if_alone(kind: Kind) -> None:
    """A run with ends is the run without them, cut after the first end."""
    prefixes = kind.sequences(11, (4, 9, 2, 6))
    keys = np.arange(20, 32).reshape(4, 3)
    free = ran(with_ends(kind.predictor, ()), prefixes, keys, 20, loop_rule=SHORT_LOOPS)
    drawn = np.concatenate([s.observation.token_id for s in free])
    ends = tuple(int(i) for i in np.unique(drawn)[:: max(3, len(np.unique(drawn)) // 6)])
    told: list[int] = []
    stopped = ran(with_ends(kind.predictor, ends), prefixes, keys, 20, loop_rule=SHORT_LOOPS, on_tokens=told.append)
    reasons = set()
    for a, b in zip(stopped, free, strict=True):
        hits = np.flatnonzero(np.isin(b.observation.token_id, ends))
        n = int(hits[0]) + 1 if len(hits) else 20
        assert len(a.observation.token_id) == len(a.uniform) == n
        assert a.end_reason == ("end_of_text" if len(hits) else "length")
        assert_same(a.observation, b.observation.take(slice(n)), kind)
        np.testing.assert_array_equal(a.uniform, b.uniform[:n])
        reasons.add(n)
    assert len(reasons) > 1
    assert sum(told) == sum(len(s.observation.token_id) for s in stopped)


@pytest.mark.parametrize(
    "rule",
    [
        SamplingRule.of(temperature=0.7),
        SamplingRule.of(temperature=0.0),
        SamplingRule.of(temperature=1.3, top_k=9, top_p=0.8),
    ],
)
def test_another_sampling_rule_keeps_both_log_probs(kind: Kind, rule: SamplingRule) -> None:
    prefixes = kind.sequences(12, (4, 9))
    samples = ran(kind.predictor, prefixes, [[1], [2]], 8, sampling=rule, loop_rule=SHORT_LOOPS)
    for sample in samples:
        prefix, ids = prefixes[sample.row], sample.observation.token_id.astype(np.int64)
        assert sample.sample_log_prob_nats is not None
        (seen,) = scored(kind.predictor, [np.concatenate([prefix, ids])], first=len(prefix), loop_rule=SHORT_LOOPS)
        assert_same(sample.observation, seen, kind)
        for t in range(len(ids)):
            law = rule.apply(kind.predictor.law(kind.predictor.start([np.concatenate([prefix, ids[:t]])])))
            np.testing.assert_allclose(
                sample.sample_log_prob_nats[t], law.log_prob(ids[t : t + 1])[0], atol=5 * kind.atol_nats
            )
            assert law.sample(sample.uniform[t : t + 1])[0] == ids[t]


# ---- hidden states ---------------------------------------------------------------------------------------------------


def test_hidden_states_are_those_of_the_step_path_or_are_refused(kind: Kind) -> None:
    predictor = kind.predictor
    sequences = kind.sequences(18, LENGTHS)
    chunks = list(predictor.score(sequences, first=1))
    if not predictor.capabilities.embed:
        assert all(c.hidden is None for c in chunks)
        assert all(s.embedding is None for s in ran(predictor, sequences, np.arange(4)[:, None], 3))
        with pytest.raises(UsageError, match="no hidden states to show"):
            predictor.embed(predictor.start(sequences))
        return
    found = {(int(r), int(t)): h for c in chunks for r, t, h in zip(c.row, c.position, c.hidden, strict=True)}
    assert len(found) == sum(len(s) - 1 for s in sequences)
    for i, sequence in enumerate(sequences):
        state = predictor.start([sequence[:1]])
        for t in range(1, len(sequence)):
            (wanted,) = predictor.embed(state)
            assert wanted.dtype == found[i, t].dtype == np.float32
            np.testing.assert_allclose(found[i, t], wanted, atol=20 * kind.atol_nats)
            state = predictor.advance(state, sequence[t : t + 1])
    chosen = predictor.embed(predictor.select(predictor.start(sequences), np.array([2, 0, 0])))
    np.testing.assert_allclose(chosen, predictor.embed(predictor.start(sequences))[[2, 0, 0]], atol=20 * kind.atol_nats)
    joined = predictor.embed(predictor.join([predictor.start(sequences[:1]), predictor.start(sequences[1:])]))
    np.testing.assert_allclose(joined, predictor.embed(predictor.start(sequences)), atol=20 * kind.atol_nats)


def test_a_samples_embedding_is_the_mean_of_the_scorers_hidden_states(kind: Kind) -> None:
    """Beyond the window too, and for rows that end early."""
    if not kind.predictor.capabilities.embed:
        return
    predictor = with_ends(kind.predictor, tuple(range(3, 64, 9)))
    prefixes = kind.sequences(19, (4, 9, 2))
    samples = ran(predictor, prefixes, np.arange(6).reshape(3, 2), 36)
    assert {s.end_reason for s in samples} == {"end_of_text", "length"} or len({len(s.uniform) for s in samples}) > 1
    for sample in samples:
        prefix = prefixes[sample.row // 2]
        text = np.concatenate([prefix, sample.observation.token_id]).astype(np.int64)
        hidden = np.concatenate([c.hidden for c in predictor.score([text], first=len(prefix))])
        assert len(hidden) == len(sample.observation.token_id)
        np.testing.assert_allclose(sample.embedding, hidden.mean(0), atol=20 * kind.atol_nats)


# ---- states are values -----------------------------------------------------------------------------------------------


def assert_state(kind: Kind, state: Any, contexts: list[np.ndarray]) -> None:
    """The state's laws are those of the contexts, read afresh."""
    table = kind.predictor.law(state).log_probs()
    assert len(table) == len(contexts)
    for row, context in zip(table, contexts, strict=True):
        np.testing.assert_allclose(np.exp(row), np.exp(table_after(kind.predictor, context)), atol=kind.atol_nats)
    assert kind.predictor.nbytes(state) >= 0


def plus(contexts: list[np.ndarray], *ids: Any) -> list[np.ndarray]:
    for one in ids:
        contexts = [np.append(c, i) for c, i in zip(contexts, np.broadcast_to(one, len(contexts)), strict=True)]
    return contexts


@pytest.mark.parametrize("lengths", [(5, 5, 5), (15, 3, 8), (33, 31, 2)])
def test_an_old_state_stays_what_it_was(kind: Kind, lengths: tuple[int, ...]) -> None:
    p, contexts = kind.predictor, kind.sequences(13, lengths)
    a, b, c = np.array([1, 2, 3]), np.array([3, 3, 0]), np.array([0, 1, 0])
    before = p.start(contexts)
    one = p.advance(before, a)
    other = p.advance(before, b)
    further = p.advance(one, c)
    assert_state(kind, before, contexts)
    assert_state(kind, one, plus(contexts, a))
    assert_state(kind, other, plus(contexts, b))
    assert_state(kind, further, plus(contexts, a, c))
    assert_state(kind, p.advance(one, b), plus(contexts, a, b))
    assert_state(kind, p.advance(other, c), plus(contexts, b, c))
    assert_state(kind, p.advance(p.advance(further, a), b), plus(contexts, a, c, a, b))
    assert_state(kind, p.advance(before, c), plus(contexts, c))


@pytest.mark.parametrize("lengths", [(5, 5, 5), (14, 3, 8), (33, 31, 2)])
def test_rows_can_be_selected_repeated_and_forked(kind: Kind, lengths: tuple[int, ...]) -> None:
    p, contexts = kind.predictor, kind.sequences(14, lengths)
    a = np.array([1, 2, 3])
    before = p.start(contexts)
    old = p.select(before, np.array([2, 0]))
    one = p.advance(before, a)
    stale = p.select(before, np.array([2, 0, 0]))  # after `before` was advanced
    fork = p.select(one, np.arange(3))
    forked = p.advance(p.advance(fork, a), a)
    copies = p.repeat(one, 2, 3)
    three = np.array([3, 2, 1])
    two = [contexts[2], contexts[0]]
    assert_state(kind, old, two)
    assert_state(kind, p.advance(old, np.array([1, 0])), plus(two, np.array([1, 0])))
    assert_state(kind, stale, [contexts[2], contexts[0], contexts[0]])
    assert_state(kind, p.advance(stale, three), plus([contexts[2], contexts[0], contexts[0]], three))
    assert_state(kind, forked, plus(contexts, a, a, a))
    assert_state(kind, fork, plus(contexts, a))
    assert_state(kind, one, plus(contexts, a))
    doubled = [c for c in plus(contexts, a) for _ in range(2)]
    assert_state(kind, copies, doubled)
    each = np.array([0, 1, 2, 3, 0, 1])
    assert_state(kind, p.advance(p.advance(copies, each), each), plus(doubled, each, each))
    assert_state(kind, p.select(copies, np.array([5])), [doubled[5]])


@pytest.mark.parametrize("lengths", [(5, 5, 5), (15, 3, 8), (33, 31, 2)])
def test_states_are_joined_row_after_row(kind: Kind, lengths: tuple[int, ...]) -> None:
    """Of different lengths, with and without one that was advanced since; what was joined stays what it was."""
    p, contexts = kind.predictor, kind.sequences(17, lengths)
    a, b = np.array([1, 2, 3]), np.array([3, 0, 1])
    stale, short = p.start(contexts), p.start(contexts[2:])
    fresh = p.advance(stale, a)
    for states, rows in (
        ([fresh, short], [*plus(contexts, a), contexts[2]]),
        ([short, fresh, stale], [contexts[2], *plus(contexts, a), *contexts]),
        ([fresh], plus(contexts, a)),
    ):
        joined = p.join(states)
        assert_state(kind, joined, rows)
        each = np.arange(len(rows)) % 4
        longer = p.advance(joined, each)
        assert_state(kind, p.advance(longer, each), plus(rows, each, each))
        picked = [len(rows) - 1, 0, 0]
        assert_state(kind, p.select(longer, np.array(picked)), [plus(rows, each)[i] for i in picked])
        assert_state(kind, p.advance(fresh, b), plus(contexts, a, b))
        assert_state(kind, p.advance(short, b[:1]), plus(contexts[2:], b[:1]))


def test_ragged_prefixes_are_prefixes_one_by_one(kind: Kind) -> None:
    contexts = kind.sequences(15, (1, 40, 16, 17, 15, 33))
    assert_state(kind, kind.predictor.start(contexts), contexts)


# ---- what every predictor says of itself -----------------------------------------------------------------------------


def test_it_names_itself_and_spells_its_ids(kind: Kind) -> None:
    p = kind.predictor
    assert p.identity.name
    assert p.identity.fingerprint
    assert all(0 <= i < p.n_tokens for i in p.end_ids)
    assert all(isinstance(p.token_bytes(i), bytes) for i in range(p.n_tokens))
    (context,) = kind.sequences(16, (4,))
    law = p.law(p.start([context]))
    assert (law.n_rows, law.n_tokens) == (1, p.n_tokens)
    np.testing.assert_allclose(law.probs().sum(), 1)


def test_another_lead_leaves_the_predictor_as_it_was(kind: Kind) -> None:
    other = kind.predictor.with_lead((3,))
    assert other.context.lead == (3,)
    assert kind.predictor.context.lead != (3,)
