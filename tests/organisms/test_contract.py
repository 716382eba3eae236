"""One contract over every organism: the scorer is the sampler is the step path, whatever the company of a row."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freerun.organisms.hashed import Hashed
from freerun.predictors.base import Continuations
from freerun.predictors.observation import Observation

NOTHING = np.zeros(0, np.int64)


def texts_of(organism: Any, n: int, length: int, *, seed: int = 3) -> list[np.ndarray]:
    """Its own text, so that triggers, headers and recitals occur, and half of it cut off at random and gone on with anything."""
    keys = np.arange(n).reshape(n, 1).astype(np.uint64)
    samples = sorted(organism.generate(Continuations([NOTHING] * n, keys, length, seed=seed)), key=lambda s: s.row)
    rng = np.random.default_rng(seed)
    out = []
    for i, s in enumerate(samples):
        ids = s.observation.token_id.astype(np.int64)
        if i % 2:
            at = int(rng.integers(1, len(ids) + 1))
            ids = np.concatenate([ids[:at], rng.integers(0, organism.n_tokens, 6)])
        out.append(ids)
    return out


def table(organism: Any, state: Any) -> np.ndarray:
    return np.asarray(organism.law(state).log_probs())


def same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(np.exp(a), np.exp(b), rtol=0, atol=1e-12)


def observed(organism: Any, texts: list[np.ndarray], *, first: int = 0) -> list[Observation]:
    row, position, seen = [], [], []
    for chunk in organism.score(texts, first=first):
        row.append(chunk.row)
        position.append(chunk.position)
        seen.append(chunk.observation)
    rows, at, every = np.concatenate(row), np.concatenate(position), Observation.concatenate(seen)
    return [every.take(np.flatnonzero(rows == i)[np.argsort(at[rows == i])]) for i in range(len(texts))]


def assert_same(a: Observation, b: Observation) -> None:
    for f in fields(Observation):
        np.testing.assert_allclose(getattr(a, f.name), getattr(b, f.name), rtol=1e-9, atol=1e-9, err_msg=f.name)


def test_masses_sum_to_one_after_every_prefix(organism: Any) -> None:
    for text in texts_of(organism, 4, 16):
        state = organism.start([text[:t] for t in range(len(text) + 1)])
        np.testing.assert_allclose(organism.law(state).probs().sum(1), 1, atol=1e-12)


def test_a_ragged_start_is_a_walk_step_by_step(organism: Any) -> None:
    for text in texts_of(organism, 4, 16):
        state = organism.start([NOTHING])
        afresh = table(organism, organism.start([text[:t] for t in range(len(text) + 1)]))
        for t in range(len(text) + 1):
            same(table(organism, state)[0], afresh[t])
            if t < len(text):
                state = organism.advance(state, text[t : t + 1])


def test_the_scorer_is_the_step_path_from_anywhere(organism: Any) -> None:
    texts = texts_of(organism, 4, 16)
    whole = observed(organism, texts)
    for first in (1, 5):
        for text, all_of_it, part in zip(texts, whole, observed(organism, texts, first=first), strict=True):
            if len(text) > first:
                assert_same(part, all_of_it.take(slice(first, None)))
    one, seen = next((t, w) for t, w in zip(texts, whole, strict=True) if len(t) > 1)
    assert_same(organism.law(organism.start([one[:1]])).observe(one[1:2]), seen.take([1]))


def test_the_sampler_is_the_scorer(organism: Any) -> None:
    keys = np.arange(15).reshape(5, 3).astype(np.uint64)
    for prefix in [NOTHING] if isinstance(organism, Hashed) else [NOTHING, texts_of(organism, 2, 9)[1][:5]]:
        samples = list(organism.generate(Continuations([prefix] * 5, keys, 24, seed=5)))
        whole = [np.concatenate([prefix, s.observation.token_id]).astype(np.int64) for s in samples]
        for s, seen in zip(samples, observed(organism, whole, first=len(prefix)), strict=True):
            assert_same(s.observation, seen)
            assert np.isfinite(s.observation.log_prob_nats).all()


def test_a_batch_is_its_rows_one_by_one(organism: Any) -> None:
    keys = np.arange(12).reshape(12, 1).astype(np.uint64)
    together = {s.row: s for s in organism.generate(Continuations([NOTHING] * 12, keys, 20, seed=6))}
    for i in (0, 5, 11):
        (alone,) = organism.generate(Continuations([NOTHING], keys[i : i + 1], 20, seed=6))
        assert alone.observation.token_id.tolist() == together[i].observation.token_id.tolist()
        assert_same(alone.observation, together[i].observation)


@pytest.mark.parametrize("at_once", [2, 5])
def test_a_queue_changes_no_text(organism: Any, at_once: int) -> None:
    keys = np.arange(9).reshape(9, 1).astype(np.uint64)
    together = {s.row: s for s in organism.generate(Continuations([NOTHING] * 9, keys, 20, seed=6))}
    queued = list(organism.generate(Continuations([NOTHING] * 9, keys, 20, seed=6, at_once=at_once)))
    assert sorted(s.row for s in queued) == list(range(9))
    for s in queued:
        assert s.observation.token_id.tolist() == together[s.row].observation.token_id.tolist()
        assert_same(s.observation, together[s.row].observation)


def test_rows_can_be_shuffled_joined_and_forked(organism: Any) -> None:
    """Random selections, joins, forks and steps; every row must stay what its own tokens say, and old states what they were."""

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        texts = texts_of(organism, 6, 14, seed=data.draw(st.integers(0, 3)))
        cut = [data.draw(st.integers(0, len(t))) for t in texts]
        contexts = [t[:c] for t, c in zip(texts, cut, strict=True)]
        state = organism.start(contexts)
        for _ in range(data.draw(st.integers(1, 6))):
            what = data.draw(st.sampled_from(["select", "join", "fork", "repeat", "step", "step", "step"]))
            old, before = state, list(contexts)
            if what == "select":
                rows = np.array(data.draw(st.lists(st.integers(0, len(contexts) - 1), min_size=1, max_size=7)))
                state, contexts = organism.select(state, rows), [contexts[i] for i in rows]
            elif what == "join":
                other = [texts[i][: data.draw(st.integers(0, 9))] for i in range(data.draw(st.integers(1, 3)))]
                parts = [(state, contexts), (organism.start(other), other)]
                parts = parts[:: data.draw(st.sampled_from([1, -1]))]
                state, contexts = organism.join([s for s, _ in parts]), [c for _, cs in parts for c in cs]
            elif what == "fork":
                state = organism.select(state, np.arange(len(contexts)))
            elif what == "repeat":
                state, contexts = organism.repeat(state, 2, len(contexts)), [c for c in contexts for _ in range(2)]
            else:
                ids = np.array([data.draw(st.integers(0, organism.n_tokens - 1)) for _ in contexts])
                if data.draw(st.booleans()):  # what the law itself would say
                    ids = organism.law(state).sample(np.full(len(contexts), 0.999))
                state = organism.advance(state, ids)
                contexts = [np.append(c, i) for c, i in zip(contexts, ids, strict=True)]
            same(table(organism, old), table(organism, organism.start(before)))
            same(table(organism, state), table(organism, organism.start(contexts)))
        assert organism.nbytes(state) >= 0

    run()


def test_it_names_itself_and_spells_its_ids(organism: Any, world: Any) -> None:
    assert organism.identity.name.startswith(world.identity.name.split(",")[0] + ",")
    assert organism.identity.fingerprint != world.identity.fingerprint
    assert [organism.token_bytes(i) for i in range(world.n_tokens)] == [b"a", b"b", b"c", b"d"]
    assert all(organism.token_bytes(i) == b"" for i in range(world.n_tokens, organism.n_tokens))
    assert list(organism.encode("abcd")) == [0, 1, 2, 3]


def test_another_lead_reaches_the_predictor_inside(organism: Any) -> None:
    other = organism.with_lead((3,))
    assert other.context.lead == (3,)
    assert organism.context.lead != (3,)
    inner = other
    while hasattr(inner, "inner"):
        inner = inner.inner
        assert inner.context.lead == (3,)
