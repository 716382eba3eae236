"""The compiled sweep against the plain definition: same numbers within 1e-9, same ids outside a margin at the edges."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import BackendError
from freerun.predictors.kernels import fused
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import Observation

pytest.importorskip("numba")
TOLERANCE = {"log_power_sum": 2e-6}
"""The plain path takes power sums in float32; everything else is within 1e-9."""


def logits(seed: int, rows: int, vocabulary: int, spread: float, impossible: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = (rng.normal(size=(rows, vocabulary)) * spread).astype(np.float32)
    table[rng.random(table.shape) < impossible] = -np.inf
    table[:, rng.integers(vocabulary)] = spread  # at least one id is possible
    return table


def plain(law: Law, *arguments: object) -> Observation:
    return Law._observed(law, *arguments)  # type: ignore[arg-type]


def assert_same(a: Observation, b: Observation) -> None:
    for f in fields(Observation):
        np.testing.assert_allclose(
            getattr(a, f.name), getattr(b, f.name), atol=TOLERANCE.get(f.name, 1e-9), rtol=1e-7, err_msg=f.name
        )


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    vocabulary=st.integers(fused.LEAST_VOCABULARY, 3000),
    spread=st.sampled_from([0.0, 0.1, 3.0, 30.0, 300.0]),
    impossible=st.sampled_from([0.0, 0.5, 0.999]),
)
@settings(deadline=None, max_examples=60)
def test_the_compiled_sweep_says_what_the_plain_one_says(
    seed: int, rows: int, vocabulary: int, spread: float, impossible: float
) -> None:
    table = logits(seed, rows, vocabulary, spread, impossible)
    rng = np.random.default_rng(seed)
    law = Dense(table)
    ids = rng.integers(0, vocabulary, rows)
    watched = rng.integers(-1, vocabulary, (rows, 3))
    assert_same(fused.observe(table, ids, None, watched), plain(law, ids, None, watched))


@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 1.0, 8.0, 60.0]))
@settings(deadline=None, max_examples=40)
def test_the_same_ids_are_drawn_away_from_the_edges(seed: int, spread: float) -> None:
    """A uniform within 1e-9 of an edge between two ids may go either way; none of the others may."""
    table = logits(seed, 4, 2000, spread, 0.3)
    u = np.random.default_rng(seed).random(4)
    mine, theirs = fused.observe(table, None, u, None), plain(Dense(table), None, u, None)
    upper = theirs.cdf_below + np.exp(theirs.log_prob_nats)
    inside = (u - theirs.cdf_below > 1e-9) & (upper - u > 1e-9)
    assert (mine.token_id == theirs.token_id)[inside].all()
    assert np.isfinite(mine.log_prob_nats).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_possible_ids(u: float) -> None:
    table = logits(3, 3, 1500, 5.0, 0.9)
    assert np.isfinite(fused.observe(table, None, np.full(3, u), None).log_prob_nats).all()


@pytest.mark.parametrize("temperature", [0.3, 0.9, 2.0])
def test_a_scale_is_a_temperature(temperature: float) -> None:
    table = logits(4, 6, 2500, 4.0)
    u = np.random.default_rng(4).random(6)
    law = Dense(table).tempered(temperature)
    assert_same(fused.observe(table, None, u, None, scale=1 / temperature), plain(law, None, u, None))
    assert_same(law.observe(uniforms=u), plain(law, None, u, None))


def test_threads_change_no_bit() -> None:
    table = logits(5, 7, 5000, 3.0)
    u = np.random.default_rng(5).random(7)
    one, many = (fused.observe(table, None, u, None, n_threads=n) for n in (1, 3))
    for f in fields(Observation):
        assert (getattr(one, f.name) == getattr(many, f.name)).all()


def test_large_float32_laws_go_the_compiled_way_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused.fits(np.zeros((1, 2000), np.float32))
    assert fused.fits(torch.zeros((1, 2000), dtype=torch.bfloat16))
    assert not fused.fits(np.zeros((1, 2000)))
    assert not fused.fits(np.zeros((1, 100), np.float32))
    assert fused.fits(torch.zeros((1, 2000), device="meta"))  # read where they are
    assert fused.is_on_device(torch.zeros((1, 2000), device="meta"))
    assert not fused.fits(torch.zeros((1, 2000), device="meta", dtype=torch.float64))
    monkeypatch.setenv("FREERUN_PLAIN", "1")
    assert not fused.fits(torch.zeros((1, 2000), device="meta"))


def test_the_plain_path_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREERUN_PLAIN", "1")
    fused.ready.cache_clear()
    try:
        assert not fused.fits(np.zeros((1, 2000), np.float32))
    finally:
        monkeypatch.undo()
        fused.ready.cache_clear()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_law_is_refused(value: float) -> None:
    table = logits(6, 3, 1200, 2.0)
    table[1, 700] = value
    with pytest.raises(BackendError, match="NaN or infinite"):
        fused.observe(table, np.zeros(3, np.int64), None, None)


def test_a_row_without_a_possible_id_is_refused() -> None:
    with pytest.raises(BackendError, match="NaN or infinite"):
        fused.observe(np.full((1, 1200), -np.inf, np.float32), np.zeros(1, np.int64), None, None)


# ---- laws that are sampled instead of the model's -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [{"top_k": 7}, {"top_p": 0.8}, {"top_k": 50, "top_p": 0.5}, {"top_p": 1.0}, {"top_k": 9999}]
)
@pytest.mark.parametrize("ties", [False, True])
def test_a_truncated_law_draws_what_its_table_says(rule: dict[str, float], ties: bool) -> None:
    """Against a sort of the whole table, done here; ties go to the smaller id."""
    table = logits(7, 5, 1500, 2.0)
    table = np.round(table) if ties else table
    u = np.random.default_rng(7).random(5)
    law = Dense(table).restricted(**rule)  # type: ignore[arg-type]
    drawn, log_prob = law.draw(u)
    probs = Dense(table).probs()
    for row, p in enumerate(probs):
        order = np.argsort(-p, kind="stable")
        keep = np.arange(len(p)) < rule.get("top_k", len(p))
        if rule.get("top_p", 1.0) < 1:
            keep &= np.cumsum(p[order]) - p[order] < rule["top_p"]
        kept = np.zeros_like(p)
        kept[order[keep]] = p[order[keep]]
        kept /= kept.sum()
        np.testing.assert_allclose(law.probs()[row], kept, atol=1e-12)
        assert drawn[row] == int((np.cumsum(kept) <= u[row]).sum())
        assert abs(log_prob[row] - np.log(kept[drawn[row]])) < 1e-9


def test_greedy_draws_the_first_of_the_most_probable() -> None:
    table = np.round(logits(8, 4, 1300, 1.0))
    drawn, log_prob = Dense(table).tempered(0).draw(np.full(4, 0.7))
    assert drawn.tolist() == table.argmax(1).tolist()
    assert (log_prob == 0).all()
