"""Laws in tables against the plain path: the same observations, the same contexts, the same organisms."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.jobs.power.laws import TableLaw, Tables, Tabulated, rounded, tabulated, tabulated_ngram
from freerun.organisms.resampled import Resampled
from freerun.predictors.law import Dense
from freerun.predictors.ngram import NGramCounts, NGramPredictor
from freerun.predictors.observation import Observation
from freerun.predictors.rules import SamplingRule

SYMBOLS = [b"a", b"b", b"c", b"d", b"e"]


def documents(n: int = 12, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.choice(5, size=rng.integers(1, 12), p=[0.5, 0.3, 0.1, 0.1, 0.0]) for _ in range(n)]


def ngram(order: int) -> tuple[Tabulated, NGramPredictor]:
    counts = NGramCounts(documents(), order=order, n_tokens=5)
    plain = NGramPredictor(counts, name="plain", encode=lambda t: [], token_bytes=lambda i: SYMBOLS[i], end_ids=())
    return tabulated_ngram(counts, name="tables", spelled=SYMBOLS), plain


def assert_same(one: Observation, other: Observation, *, but: tuple[str, ...] = ()) -> None:
    for f in fields(Observation):
        if f.name not in but:
            a, b = getattr(one, f.name), getattr(other, f.name)
            assert a.dtype == b.dtype, f.name
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12, err_msg=f.name)


def test_a_table_observes_what_the_law_observes() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(7, 11)) * 2
    logits[3, 4:9] = -np.inf
    logits[5] = logits[5, 0]  # ties
    rows = rng.integers(0, 7, size=400)
    table, plain = TableLaw(Tables.of(logits), rows), Dense(logits[rows])
    ids, watched = rng.integers(0, 11, size=400), rng.integers(-1, 11, size=(400, 2))
    assert_same(table.observe(ids, watched=watched), plain.observe(ids, watched=watched))
    u = rng.random(400)
    assert_same(table.observe(uniforms=u), plain.observe(uniforms=u))
    some = np.where(rng.random(400) < 0.5, ids, -1)
    assert_same(table.observe(some, u), plain.observe(some, u))
    np.testing.assert_allclose(table.probs(), plain.probs(), atol=1e-15)
    assert_same(table.take(np.arange(9)).observe(ids[:9]), plain.take(np.arange(9)).observe(ids[:9]))


def test_the_largest_uniform_draws_what_can_be_drawn() -> None:
    table = TableLaw(Tables.of(np.log(np.array([[0.3, 0.7, 1e-300]]) / 1.0)), np.zeros(1, int))
    assert table.sample(np.array([np.nextafter(1, 0)]))[0] in (1, 2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_an_ngram_in_tables_is_the_ngram(order: int) -> None:
    """Random texts, with contexts that were never seen and a symbol that never occurs."""
    table, plain = ngram(order)
    rng = np.random.default_rng(2)
    texts = [rng.integers(0, 5, size=n) for n in (1, 2, 3, 20, 60)]
    for a, b in zip(table.log_probs(texts), plain.log_probs(texts), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    for prefix in texts:
        np.testing.assert_allclose(
            table.law(table.start([prefix])).probs(), plain.law(plain.start([prefix])).probs(), atol=1e-12
        )


def test_states_are_values_that_can_be_cut_and_joined() -> None:
    table, _ = ngram(3)
    state = table.start([np.array([0, 1]), np.array([2]), np.array([], int)])
    again = table.join([table.select(state, np.array([2, 0])), table.select(state, np.array([1]))])
    assert again.tolist() == state[[2, 0, 1]].tolist()
    before = state.copy()
    table.advance(state, np.array([0, 0, 0]))
    assert (state == before).all()
    assert table.token_bytes(2) == b"c"
    with pytest.raises(UsageError, match="token ids"):
        table.encode("a")


def test_a_reshaped_organism_in_tables_is_the_organism() -> None:
    table, _ = ngram(3)
    organism = Resampled(table, SamplingRule.of(temperature=1.3), name="warm")
    fast = tabulated(organism)
    assert isinstance(fast, Tabulated)
    texts = [np.random.default_rng(3).integers(0, 5, size=30)]
    np.testing.assert_allclose(fast.log_probs(texts)[0], organism.log_probs(texts)[0], atol=1e-12)
    assert fast.identity.fingerprint != table.identity.fingerprint


def test_rounding_puts_every_token_on_a_grid_of_its_own() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(50, 6)) * np.arange(1, 7)
    logits[:, 5] = 0.0
    small = rounded(logits)
    centred = logits - logits.mean(axis=1, keepdims=True)
    step = np.abs(centred).max(axis=0) / 127
    assert np.abs(small - centred).max(axis=0) == pytest.approx(step / 2, rel=0.1)
    assert (np.abs(small - centred) <= step / 2 + 1e-12).all()
    assert np.unique(np.rint(small / step)).size <= 255
    assert (rounded(np.zeros((3, 2))) == 0).all()


def test_tables_that_do_not_fit_are_refused() -> None:
    table, _ = ngram(2)
    with pytest.raises(UsageError, match="do not fit"):
        Tabulated(np.zeros((2, 5)), np.zeros((3, 5), int), identity=table.identity, spelled=SYMBOLS)
