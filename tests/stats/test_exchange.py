"""Given texts among the law's own: the null by enumeration, its size, and what it sees."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import stats

from freerun.stats.verification.exchange import STATISTICS, Group, TextSums, exchange_test
from freerun.stats.verification.tokens import TRUNCATIONS

N_STATISTICS = len(STATISTICS)


def text(values: np.ndarray, n_tokens: int = 50) -> TextSums:
    """Sums as a text of so many tokens of variance 4 would have them."""
    beyond = np.full(len(TRUNCATIONS), 0.05 * n_tokens)
    return TextSums(n_tokens, values, np.full(N_STATISTICS, 2.0 * n_tokens), 4.0 * n_tokens, 2.0 * n_tokens, beyond)


def groups(rng: np.random.Generator, n: int, *, shift: float = 0.0, bias: float = 3.0) -> list[Group]:
    """Heavy-tailed sums that go together, with a mean that is not 0 (as ids made anew have); the given ones shifted."""
    made = []
    for _ in range(n):
        common = rng.standard_t(4, (3, 1))
        table = bias + 5.0 * (common + 0.5 * rng.standard_t(4, (3, N_STATISTICS)))
        table[0] += shift
        made.append([text(row) for row in table])
    return made


def test_the_null_is_that_of_all_choices() -> None:
    few = groups(np.random.default_rng(3), 5, shift=4.0)
    found = exchange_test(few, seed=1, choices=40_000)
    table = np.array([[t.statistics for t in group] for group in few])
    centred = table - table.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=1).sum(axis=0))
    largest = [
        np.abs(sum(centred[i, j] for i, j in enumerate(choice)) / spread).max()
        for choice in product(range(3), repeat=5)
    ]
    exact = np.mean(np.array(largest) >= largest[0] - 1e-9)  # the first choice takes the given text of every group
    assert abs(found.p_value - exact) < 5 * np.sqrt(exact * (1 - exact) / 40_000)
    assert np.allclose(found.z * spread, centred[:, 0].sum(axis=0))
    difference = table[:, 0] - table[:, 1:].mean(axis=1)
    assert np.allclose(found.excess * found.n_tokens, difference.sum(axis=0))


def test_it_rejects_as_often_as_it_says() -> None:
    """300 nulls with a common bias: at 0.05 from 4 to 29 of them, which an exact test leaves in 1 of 1,000 runs of this test."""
    rng = np.random.default_rng(11)
    p = [exchange_test(groups(rng, 12), seed=i, choices=199).p_value for i in range(300)]
    low, high = stats.binom.ppf([0.0005, 0.9995], 300, 0.05)
    assert low <= sum(x <= 0.05 for x in p) <= high


def test_it_sees_a_shift_and_says_what_it_would_see() -> None:
    rng = np.random.default_rng(5)
    assert exchange_test(groups(rng, 40, shift=8.0), seed=1).p_value < 0.001
    nothing = exchange_test(groups(rng, 40), seed=1)
    more = exchange_test(groups(rng, 160), seed=1)
    assert nothing.smallest.temperature is not None
    assert more.smallest.temperature is not None
    assert 1.5 < nothing.smallest.temperature / more.smallest.temperature < 2.7  # 4 times the texts, half the fault
    assert nothing.p_value > 0.001


def test_a_noise_floor_takes_a_small_shift_away() -> None:
    shifted = groups(np.random.default_rng(5), 40, shift=8.0)
    found = exchange_test(shifted, seed=1, floor_nats=1.0)
    assert found.p_value < 0.001 < found.p_beyond_floor


def test_what_never_varies_says_nothing() -> None:
    same = [[text(np.zeros(N_STATISTICS))] * 3 for _ in range(9)]
    found = exchange_test(same, seed=0, choices=99)
    assert found.p_value == 1.0
    assert not found.z.any()
