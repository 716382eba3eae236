"""One contract over every pair of laws: the dense formula in plain NumPy is what `Law.beside` must agree with to 1e-10."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import BackendError, UsageError
from freerun.predictors import law as law_module
from freerun.predictors.divergence import Divergence, diverge_block
from freerun.predictors.kernels import fused
from freerun.predictors.law import Dense, Law
from tests.laws import from_probs
from tests.predictors.test_law import LAWS

EXACT = 1e-10


def by_hand(p: np.ndarray, q: np.ndarray, ids: np.ndarray) -> Divergence:
    """Every number, one row and one id at a time; q may have more columns."""
    out: dict[str, list] = {f.name: [] for f in fields(Divergence)}
    for row, (x, y, token) in enumerate(zip(p, q, ids, strict=True)):
        wide = np.concatenate([x, np.zeros(len(y) - len(x))])
        with np.errstate(divide="ignore"):
            log_x, log_y = np.log(wide), np.log(y)
        forward = sum(a * (u - v) for a, u, v in zip(wide, log_x, log_y, strict=True) if a > 0)
        backward = sum(b * (v - u) for b, u, v in zip(y, log_x, log_y, strict=True) if b > 0)
        values = {
            "token_id": ids[row],
            "log_p_nats": log_x[token],
            "log_q_nats": log_y[token],
            "kl_pq_nats": forward,
            "kl_qp_nats": backward,
            "tv": 0.5 * np.abs(wide - y).sum(),
            "entropy_p_nats": -sum(a * u for a, u in zip(wide, log_x, strict=True) if a > 0),
            "entropy_q_nats": -sum(b * v for b, v in zip(y, log_y, strict=True) if b > 0),
            "top_p_id": x.argmax(),
            "top_q_id": y.argmax(),
            "top_log_p_nats": log_x.max(),
            "top_log_q_nats": log_y.max(),
            "added_mass": y[len(x) :].sum(),
        }
        for name, value in values.items():
            out[name].append(value)
    return Divergence(**{name: np.array(column) for name, column in out.items()})


def assert_same(a: Divergence, b: Divergence, *, exactly: float = EXACT) -> None:
    for f in fields(Divergence):
        np.testing.assert_allclose(getattr(a, f.name), getattr(b, f.name), atol=exactly, rtol=1e-12, err_msg=f.name)


PAIRS = [
    (a, b)
    for a, b in itertools.product(LAWS, LAWS)
    if LAWS[a]()[1].shape[0] == LAWS[b]()[1].shape[0] and LAWS[a]()[1].shape[1] <= LAWS[b]()[1].shape[1]
]


@pytest.mark.parametrize("first", sorted({a for a, _ in PAIRS}))
def test_every_pair_of_laws_agrees_with_the_dense_formula(first: str) -> None:
    for second in (b for a, b in PAIRS if a == first):
        (p, p_table), (q, q_table) = LAWS[first](), LAWS[second]()
        ids = np.random.default_rng(len(second)).integers(0, q.n_tokens, p.n_rows)
        assert_same(p.beside(q, ids), by_hand(p_table, q_table, ids))


@pytest.mark.parametrize("first", sorted(LAWS))
def test_a_law_beside_itself_is_nowhere_apart(first: str) -> None:
    p, q = LAWS[first]()[0], LAWS[first]()[0]
    seen = p.beside(q, np.zeros(p.n_rows, np.int64))
    assert not any(column.any() for column in (seen.kl_pq_nats, seen.kl_qp_nats, seen.tv))
    assert seen.same_top.all()


@pytest.mark.parametrize("first", sorted(LAWS))
def test_chunks_are_the_whole_and_rows_are_themselves(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p, p_table = LAWS[first]()
    q = from_probs(np.roll(p_table, 1, axis=0))
    ids = np.arange(p.n_rows) % p.n_tokens
    whole = p.beside(q, ids)
    alone = [p.take(np.array([r])).beside(q.take(np.array([r])), ids[r : r + 1]) for r in range(p.n_rows)]
    assert_same(Divergence.concatenate(alone), whole, exactly=1e-15)
    monkeypatch.setattr(law_module, "_BLOCK_ELEMENTS", 1)
    assert_same(p.beside(q, ids), whole, exactly=1e-15)


def test_what_one_law_lacks_is_infinite() -> None:
    p, q = from_probs(np.array([[0.5, 0.5, 0.0]])), from_probs(np.array([[0.5, 0.25, 0.25]]))
    seen = p.beside(q, np.array([2]))
    said = [float(x[0]) for x in (seen.kl_pq_nats, seen.kl_qp_nats, seen.tv, seen.log_p_nats, seen.gap_nats)]
    assert said == pytest.approx([0.5 * np.log(2), np.inf, 0.25, -np.inf, -np.inf])


def test_ids_that_the_second_law_adds_count_as_its_mass() -> None:
    """An extra token with mass ε: KL(p‖q) = −ln(1 − ε), TV = ε, and no forward bound the other way."""
    p = Dense(np.random.default_rng(0).normal(size=(4, 9)))
    seen = p.beside(p.with_atom(0.01), np.array([0, 3, 8, 9]))
    np.testing.assert_allclose(seen.kl_pq_nats, -np.log(0.99), atol=EXACT)
    np.testing.assert_allclose(seen.tv, 0.01, atol=EXACT)
    np.testing.assert_allclose(seen.added_mass, 0.01, atol=EXACT)
    assert (seen.kl_qp_nats == np.inf).all()
    assert (seen.log_p_nats == -np.inf).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.beside(Dense(np.zeros((3, 9))), np.zeros(4, np.int64)), "same contexts"),
        (lambda p: p.beside(Dense(np.zeros((4, 8))), np.zeros(4, np.int64)), "fewer than"),
        (lambda p: p.beside(p, np.array([0, 0, 0, 9])), "0 to 9"),
        (lambda p: p.beside(p, np.array([0, 0, 0, -1])), "-1 to 0"),
        (lambda p: p.beside(from_probs(np.full((4, 9), 0.1)), np.zeros(4, np.int64)), "missing mass"),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(make: Callable[[Law], Divergence], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(Dense(np.zeros((4, 9))))


# ---- the compiled sweep ------------------------------------------------------------------------------------------------


def plain(p: Law, q: Law, ids: np.ndarray) -> Divergence:
    return diverge_block(p.block(0, p.n_rows), q.block(0, q.n_rows), ids)


def logits(rng: np.random.Generator, rows: int, vocabulary: int, spread: float, impossible: float) -> np.ndarray:
    table = (rng.normal(size=(rows, vocabulary)) * spread).astype(np.float32)
    table[rng.random(table.shape) < impossible] = -np.inf
    table[:, rng.integers(vocabulary)] = spread  # at least one id is possible
    return table


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 4),
    vocabulary=st.integers(fused.LEAST_VOCABULARY, 2500),
    more=st.integers(0, 3),
    spread=st.sampled_from([0.0, 0.1, 3.0, 30.0, 300.0]),
    impossible=st.sampled_from([0.0, 0.5]),
    near=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_compiled_sweep_says_what_the_plain_one_says(
    seed: int, rows: int, vocabulary: int, more: int, spread: float, impossible: float, near: bool
) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    p = logits(rng, rows, vocabulary, spread, impossible)
    q = logits(rng, rows, vocabulary + more, spread, impossible)
    if near:
        q[:, :vocabulary] = p + rng.normal(size=p.shape).astype(np.float32) * 1e-3
    ids = rng.integers(0, vocabulary + more, rows)
    made, wanted = fused.beside(p, 1.0, q, 1.0, ids), plain(Dense(p), Dense(q), ids)
    for f in fields(Divergence):
        np.testing.assert_allclose(getattr(made, f.name), getattr(wanted, f.name), atol=1e-9, rtol=1e-9, err_msg=f.name)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_mass_too_small_for_a_double_is_a_mass(compiled: bool) -> None:
    """e^−900 is not a double, and yet a law that gives it where the other gives nothing is infinitely far from it."""
    p, q = np.zeros((4, 1024), np.float32), np.zeros((4, 1025), np.float32)
    q[:, -1] = -np.inf
    q[0, -1] = -900.0  # an id that q alone has
    p[1, 5], q[1, 5] = -900.0, -np.inf  # p alone has mass
    p[2, 5], q[2, 5] = -np.inf, -900.0  # q alone
    p[3, 5], q[3, 5] = -np.inf, -np.inf
    ids = np.zeros(4, np.int64)
    seen = fused.beside(p, 1.0, q, 1.0, ids) if compiled else plain(Dense(p), Dense(q), ids)
    assert np.isinf(seen.kl_pq_nats).tolist() == [False, True, False, False]
    assert np.isinf(seen.kl_qp_nats).tolist() == [True, False, True, False]


def test_small_divergences_keep_their_digits() -> None:
    """Against exact arithmetic of 60 digits: a divergence of 1e-9 nats is right to 1e-4 of itself."""
    rng = np.random.default_rng(5)
    p = (rng.normal(size=(1, 2000)) * 3).astype(np.float32)
    q = p + (rng.normal(size=p.shape) * 5e-5).astype(np.float32)
    with localcontext(prec=60):
        x, y = ([Decimal(float(v)).exp() for v in row[0]] for row in (p, q))
        zx, zy = sum(x), sum(y)
        exact = sum(a / zx * ((a / zx) / (b / zy)).ln() for a, b in zip(x, y, strict=True))
    assert 1e-10 < float(exact) < 1e-8
    for seen in (Dense(p).beside(Dense(q), np.zeros(1, np.int64)), plain(Dense(p), Dense(q), np.zeros(1, np.int64))):
        assert float(seen.kl_pq_nats[0]) == pytest.approx(float(exact), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_torch_logits_and_heat_go_the_compiled_way(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(6)
    a, b = (torch.as_tensor(rng.normal(size=(5, 1500)) * 3).to(dtype) for _ in range(2))
    ids = rng.integers(0, 1500, 5)
    quick = Dense(a).beside(Dense(b).tempered(0.8), ids)
    monkeypatch.setattr(fused, "fits", lambda _: False)
    assert_same(Dense(a.double()).beside(Dense(b.double()).tempered(0.8), ids), quick, exactly=1e-9)


def test_threads_change_no_bit_and_broken_logits_are_refused() -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(7)
    p, q = (rng.normal(size=(7, 3000)).astype(np.float32) for _ in range(2))
    ids = rng.integers(0, 3000, 7)
    one, many = (fused.beside(p, 1.0, q, 1.0, ids, n_threads=n) for n in (1, 3))
    for f in fields(Divergence):
        assert (getattr(one, f.name) == getattr(many, f.name)).all()
    q[3, 5] = np.nan
    with pytest.raises(BackendError, match="NaN"):
        Dense(p).beside(Dense(q), ids)
