"""Exact chains: closed forms, and samples that obey them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.worlds.catalogue import WORLDS, load_world
from freerun.worlds.markov import MarkovWorld, random_chain, stationary_law


def binary_entropy(p: float) -> float:
    return -sum(q * np.log(q) for q in (p, 1 - p) if q > 0)


@settings(deadline=None)
@given(a=st.floats(0.001, 1), b=st.floats(0.001, 1))
def test_two_states_in_closed_form(a: float, b: float) -> None:
    """π = (b, a)/(a + b); h = (b·h(a) + a·h(b))/(a + b)."""
    world = MarkovWorld(np.array([[1 - a, a], [b, 1 - b]]))
    np.testing.assert_allclose(world.initial, [b / (a + b), a / (a + b)], atol=1e-9)
    wanted = (b * binary_entropy(a) + a * binary_entropy(b)) / (a + b)
    np.testing.assert_allclose(world.entropy_rate(), wanted, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 26), seed=st.integers(0, 10**6))
def test_the_stationary_law_stays(n: int, seed: int) -> None:
    world = random_chain(n, seed=seed, concentration=1.0)
    np.testing.assert_allclose(world.initial @ world.transitions, world.initial, atol=1e-10)
    np.testing.assert_allclose(world.initial.sum(), 1, atol=1e-10)
    assert -1e-9 <= world.entropy_rate() <= np.log(n) + 1e-9


def test_a_cycle_has_no_entropy_and_visits_all() -> None:
    world = MarkovWorld(np.roll(np.eye(5), 1, axis=1))
    np.testing.assert_allclose(world.initial, 0.2)
    assert world.entropy_rate() == 0
    text = world.corpus(1, 12, seed=0).documents[0].text
    assert text in ("abcde" * 4)


def test_the_law_is_the_row_of_the_table() -> None:
    world = MarkovWorld(np.array([[0.25, 0.75, 0], [0.5, 0, 0.5], [1, 0, 0]]), initial=np.array([0.1, 0.2, 0.7]))
    contexts = [np.array(x, np.int64) for x in ([], [2, 0], [1], [0, 0, 2])]
    wanted = [[0.1, 0.2, 0.7], [0.25, 0.75, 0], [0.5, 0, 0.5], [1, 0, 0]]
    np.testing.assert_allclose(world.law(world.start(contexts)).probs(), wanted, atol=1e-15)
    (scored,) = world.log_probs([np.array([2, 0, 1, 1])])
    np.testing.assert_allclose(np.exp(scored), [0.7, 1, 0.75, 0], atol=1e-15)


def test_samples_cost_the_entropy_rate() -> None:
    """400 documents of 200 tokens: their mean surprisal against H(π) + 199·h over 200.

    A two-sided z test over independent documents at |z| ≤ 5: false alarms with probability 6e-7 (normal approximation). The seed
    was fixed after the band.
    """
    world = random_chain(8, seed=4)
    corpus = world.corpus(400, 200, seed=1)
    ids = [np.array(d.ids) for d in corpus.documents]
    cost = np.array([-x.sum() for x in world.log_probs(ids)]) / 200
    start = -np.sum(world.initial * np.log(world.initial))
    wanted = (start + 199 * world.entropy_rate()) / 200
    error = cost.std(ddof=1) / np.sqrt(len(cost))
    assert abs(cost.mean() - wanted) <= 5 * error
    assert error < 0.01  # so that the band means something


def test_transitions_occur_as_often_as_the_table_says() -> None:
    """64 transitions of 80,000 tokens, each within 5.5 standard errors: false alarms below 64 · 4e-8 = 2.5e-6."""
    world = random_chain(8, seed=4, concentration=1.0)
    ids = np.array([d.ids for d in world.corpus(400, 200, seed=2).documents])
    counts = np.zeros((8, 8))
    np.add.at(counts, (ids[:, :-1].ravel(), ids[:, 1:].ravel()), 1)
    after = counts.sum(1, keepdims=True)
    error = np.sqrt(world.transitions * (1 - world.transitions) / after)
    assert (np.abs(counts / after - world.transitions) <= 5.5 * error + 1e-12).all()


def test_more_or_longer_documents_begin_with_the_same() -> None:
    world = random_chain(6, seed=2)
    small, large = world.corpus(5, 20, seed=3), world.corpus(9, 50, seed=3)
    for a, b in zip(small.documents, large.documents, strict=False):
        assert b.ids is not None
        assert a.ids == b.ids[:20]
        assert b.text.startswith(a.text)
        assert (a.id, a.unit) == (b.id, b.unit)
    assert small.fingerprint != large.fingerprint
    assert small.fingerprint == world.corpus(5, 20, seed=3).fingerprint
    assert world.corpus(5, 20, seed=4).documents[0].ids != small.documents[0].ids


def test_documents_are_independent_units_of_ids_and_text() -> None:
    world = random_chain(6, seed=2)
    corpus = world.corpus(7, 30, seed=0)
    assert corpus.independent
    assert corpus.n_units == 7
    assert len({d.text for d in corpus.documents}) == 7
    for d in corpus.documents:
        assert world.encode(d.text) == list(d.ids or ())
        assert b"".join(world.token_bytes(i) for i in d.ids or ()).decode() == d.text


def test_another_table_is_another_fingerprint() -> None:
    worlds = [random_chain(4, seed=s) for s in (1, 1, 2)]
    worlds.append(MarkovWorld(worlds[0].transitions, initial=np.array([1.0, 0, 0, 0])))
    prints = [w.identity.fingerprint for w in worlds]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    "table",
    [
        np.eye(3)[:2],
        np.full((2, 2), 0.6),
        np.array([[1.5, -0.5], [0, 1]]),
        np.full((27, 27), 1 / 27),
        np.full((2, 2), np.nan),
    ],
)
def test_what_is_no_chain_is_refused(table: np.ndarray) -> None:
    with pytest.raises(UsageError, match="transitions"):
        MarkovWorld(table)


def test_a_symbol_that_it_does_not_know_is_named() -> None:
    with pytest.raises(UsageError, match="knows only the symbols 'abc', not 'x'"):
        random_chain(3).encode("abxc")


def test_stationary_law_by_hand() -> None:
    """A two-state chain that leaves 0 with ¼ and 1 with ½: π = (⅔, ⅓)."""
    np.testing.assert_allclose(stationary_law(np.array([[0.75, 0.25], [0.5, 0.5]])), [2 / 3, 1 / 3], atol=1e-12)


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_worlds_by_name() -> None:
    assert load_world("markov").identity == random_chain(8, seed=0).identity
    world = load_world("markov,symbols=5,seed=3,concentration=2.5")
    assert world.identity.fingerprint == random_chain(5, seed=3, concentration=2.5).identity.fingerprint
    assert world.n_tokens == 5
    for name, entry in WORLDS.items():
        assert entry.meaning
        assert entry.parameters
        made = entry.build(**{p.name: p.default for p in entry.parameters})
        assert made.identity.fingerprint == load_world(name).identity.fingerprint


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("markof", "unknown world 'markof'; did you mean 'markov'"),
        ("markov,symbol=3", "no parameter 'symbol'; did you mean 'symbols'"),
        ("markov,symbols=many", "symbols=many is not a whole number"),
        ("markov,concentration=x", "concentration=x is not a number"),
        ("markov,symbols=40", "at most 26 symbols"),
        ("markov,concentration=nan", "must be a finite number"),
    ],
)
def test_a_name_that_is_no_world_is_refused(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_world(spec)
