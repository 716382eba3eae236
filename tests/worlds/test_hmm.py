"""Hidden Markov worlds against sums over all hidden paths, closed forms, and samples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.worlds.hmm import HiddenMarkovWorld, even_process, golden_mean, mess3, rrxor, z1r
from freerun.worlds.markov import MarkovWorld
from tests.worlds.entropies import entropy_rate_bounds

STANDARD = {
    "even": even_process(0.3),
    "golden mean": golden_mean(0.6),
    "rrxor": rrxor(0.4, 0.7),
    "mess3": mess3(),
    "z1r": z1r(0.2),
}


def binary_entropy(p: float) -> float:
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def by_paths(world: HiddenMarkovWorld, word: tuple[int, ...]) -> np.ndarray:
    """P(word, last hidden state), summed over every hidden path one by one."""
    n = len(world.initial)
    out = np.zeros(n)
    for path in product(range(n), repeat=len(word) + 1):
        p = world.initial[path[0]]
        for x, i, j in zip(word, path[:-1], path[1:], strict=True):
            p *= world.matrices[x, i, j]
        out[path[-1]] += p
    return out


@pytest.mark.parametrize("name", STANDARD)
def test_probabilities_and_beliefs_are_sums_over_hidden_paths(name: str) -> None:
    world = STANDARD[name]
    length = 4 if len(world.initial) > 3 else 7 - world.n_tokens
    for word in list(product(range(world.n_tokens), repeat=length))[:: 1 if world.n_tokens == 2 else 7]:
        joint = by_paths(world, word)
        ids = np.array(word)
        np.testing.assert_allclose(np.exp(world.log_probability(ids)), joint.sum(), atol=1e-13)
        if joint.sum() > 0:
            np.testing.assert_allclose(world.posterior(ids)[-1], joint / joint.sum(), atol=1e-10)


def test_matrices_by_hand() -> None:
    """P(emit, go to | from) as printed in the literature."""
    np.testing.assert_array_equal(even_process().matrices, [[[0.5, 0], [0, 0]], [[0, 0.5], [1, 0]]])
    np.testing.assert_array_equal(golden_mean().matrices, [[[0.5, 0], [1, 0]], [[0, 0.5], [0, 0]]])
    zero, one = z1r(0.2).matrices
    np.testing.assert_allclose(zero, [[0, 1, 0], [0, 0, 0], [0.8, 0, 0]])
    np.testing.assert_allclose(one, [[0, 0, 0], [0, 0, 1], [0.2, 0, 0]])
    # a = 0.6, b = 0.2, x = 0.15, y = 0.7: T_A = [[ay, bx, bx], [ax, by, bx], [ax, bx, by]]
    first = [[0.42, 0.03, 0.03], [0.09, 0.14, 0.03], [0.09, 0.03, 0.14]]
    np.testing.assert_allclose(mess3().matrices[0], first, atol=1e-15)
    np.testing.assert_allclose(mess3().matrices[1][1], [0.03, 0.42, 0.03], atol=1e-15)
    np.testing.assert_allclose(rrxor().stationary, [1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6], atol=1e-12)


def test_rrxor_writes_the_exclusive_or() -> None:
    for document in rrxor(0.3, 0.6).corpus(20, 30, seed=1).documents:
        ids = np.array(document.ids)
        phases = [
            (ids[k : k + 27].reshape(9, 3)[:, :2].sum(1) % 2 == ids[k : k + 27].reshape(9, 3)[:, 2]).all()
            for k in range(3)
        ]
        assert any(phases)


def test_blocks_of_ones_are_even_and_ones_stand_alone() -> None:
    for document in even_process(0.4).corpus(20, 60, seed=2).documents:
        inner = document.text.strip("1").split("0")  # blocks cut by the ends of the text may be odd
        assert all(len(block) % 2 == 0 for block in inner)
    assert all("11" not in d.text for d in golden_mean(0.4).corpus(20, 60, seed=2).documents)


@settings(deadline=None, max_examples=30)
@given(p=st.floats(0.01, 0.99), p2=st.floats(0.01, 0.99))
def test_entropy_rates_in_closed_form(p: float, p2: float) -> None:
    """h = π(A)·h(p): π(A) is 1/(2 − p) in both, ⅓ in Z1R; RRXOR (h(p1) + h(p2))/3."""
    for world in (even_process(p), golden_mean(p)):
        np.testing.assert_allclose(world.entropy_rate(), binary_entropy(p) / (2 - p), atol=1e-10)
    np.testing.assert_allclose(z1r(p).entropy_rate(), binary_entropy(p) / 3, atol=1e-10)
    np.testing.assert_allclose(rrxor(p, p2).entropy_rate(), (binary_entropy(p) + binary_entropy(p2)) / 3, atol=1e-10)


def test_the_even_process_at_one_half_has_two_thirds_of_a_bit() -> None:
    np.testing.assert_allclose(even_process().entropy_rate(), np.log(2) * 2 / 3, atol=1e-12)


@pytest.mark.parametrize("name", STANDARD)
def test_bounds_are_block_entropies_and_close_in_on_the_rate(name: str) -> None:
    world = STANDARD[name]
    blocks = [0.0]
    for length in range(1, 7):
        words = [np.array(w) for w in product(range(world.n_tokens), repeat=length)]
        p = np.exp([x.sum() for x in world.log_probs(words)])
        blocks.append(float(-(p[p > 0] * np.log(p[p > 0])).sum()))
    lows, highs = zip(*(entropy_rate_bounds(world, n) for n in range(1, 7)), strict=True)
    np.testing.assert_allclose(highs, np.diff(blocks), atol=1e-10)
    assert (np.diff(lows) >= -1e-12).all()
    assert (np.diff(highs) <= 1e-12).all()
    assert (np.array(lows) <= np.array(highs) + 1e-12).all()
    rate = world.entropy_rate()
    if rate is None:
        low, high = entropy_rate_bounds(world, 10)
        assert high - low < 2e-3
    else:
        np.testing.assert_allclose(lows, rate, atol=1e-10)  # unifilar: the start state settles all
        assert highs[-1] >= rate - 1e-12


def test_samples_cost_the_entropy_rate() -> None:
    """h ≤ E[−ln P]/n ≤ h + H(S_0)/n for unifilar worlds, and within the bounds for Mess3; 300 documents of 120 symbols, 5 standard
    errors: false alarms below 5 · 6e-7."""
    for world in STANDARD.values():
        cost = (
            np.array(
                [-x.sum() for x in world.log_probs([np.array(d.ids) for d in world.corpus(300, 120, seed=5).documents])]
            )
            / 120
        )
        error = cost.std(ddof=1) / np.sqrt(300)
        slack = -np.sum(world.initial * np.log(world.initial)) / 120
        low = high = world.entropy_rate()
        if low is None:
            low, high = entropy_rate_bounds(world, 9)
        assert low - 5 * error <= cost.mean() <= high + slack + 5 * error
        assert error < 0.01


def test_mess3_is_not_unifilar_and_the_others_are() -> None:
    assert [w.is_unifilar for w in STANDARD.values()] == [True, True, True, False, True]
    assert STANDARD["mess3"].entropy_rate() is None
    assert mess3(a=1.0).is_unifilar  # the state shows: a chain of order 1
    np.testing.assert_allclose(mess3(0.1, 1.0).entropy_rate(), -(0.8 * np.log(0.8) + 0.2 * np.log(0.1)), atol=1e-12)


def test_the_golden_mean_is_a_chain() -> None:
    chain = MarkovWorld(np.array([[0.3, 0.7], [1, 0]]), symbols="01")
    words = [np.array(w) for w in product(range(2), repeat=8)]
    a, b = ([x.sum() for x in w.log_probs(words)] for w in (chain, golden_mean(0.3)))
    np.testing.assert_allclose(np.exp(a), np.exp(b), atol=1e-12)


def test_after_what_cannot_be_it_starts_anew_at_that_symbol() -> None:
    world = golden_mean(0.3)
    after = {text: world.posterior(np.array(world.encode(text)))[-1] for text in ("1", "10")}
    for text, known in (("0011", "1"), ("00110", "10")):
        (belief,) = world.start([np.array(world.encode(text))])
        np.testing.assert_allclose(belief, after[known], atol=1e-12)


def test_states_that_are_left_for_good_count_for_nothing() -> None:
    matrices = np.array([[[0.5, 0.5], [0, 1.0]], [[0, 0], [0, 0]]])
    world = HiddenMarkovWorld(matrices)
    assert world.initial.tolist() == [0, 1]
    assert world.entropy_rate() == 0
    with pytest.raises(UsageError, match="2 parts that are never left"):
        HiddenMarkovWorld(np.eye(2)[None])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: even_process(0.0), "p=0.0 is not a probability"),
        (lambda: even_process(float("nan")), "p=nan is not a probability"),
        (lambda: rrxor(0.5, 1.0), "p2=1.0"),
        (lambda: mess3(x=0.6), "x=0.6 must lie"),
        (lambda: mess3(a=1.1), "a=1.1"),
        (lambda: entropy_rate_bounds(mess3(), 0), "length=0"),
        (lambda: entropy_rate_bounds(mess3(), 30), "words"),
        (lambda: HiddenMarkovWorld(np.ones((2, 2))), "shape symbols"),
        (lambda: HiddenMarkovWorld(np.ones((2, 2, 2))), "sum to 1"),
        (lambda: HiddenMarkovWorld(np.full((1, 2, 2), np.nan)), "probabilities"),
        (lambda: HiddenMarkovWorld(np.full((30, 1, 1), 1 / 30)), "30 symbols; at most 26"),
        (lambda: HiddenMarkovWorld(np.full((2, 1, 1), 0.5), initial=np.array([0.5])), "initial must be"),
    ],
)
def test_what_is_no_process_is_refused(make, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
