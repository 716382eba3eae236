"""Chains of higher order: laws, initial laws and entropy rates by enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.worlds.chain import row_entropy, stationary_law
from freerun.worlds.markov import MarkovWorld, lifted, random_chain


@pytest.mark.parametrize(("n", "order"), [(2, 1), (2, 2), (2, 4), (3, 2), (4, 3), (1, 2)])
def test_probabilities_are_products_of_rows(n: int, order: int) -> None:
    rng = np.random.default_rng(n + order)
    world = MarkovWorld(
        rng.dirichlet(np.ones(n), size=(n,) * order), initial=rng.dirichlet(np.ones(n**order)).reshape((n,) * order)
    )
    for word in list(product(range(n), repeat=order + 3))[:: max(1, n ** (order - 1))]:
        wanted = world.initial[word[:order]]
        for t in range(order, len(word)):
            wanted *= world.transitions[(*word[t - order : t], word[t])]
        np.testing.assert_allclose(np.exp(world.log_probability(np.array(word))), wanted, rtol=1e-10)
        for m in range(1, order):  # a shorter text: the rest of the initial law summed out
            np.testing.assert_allclose(
                np.exp(world.log_probability(np.array(word[:m]))), world.initial[word[:m]].sum(), rtol=1e-10
            )


def test_the_stationary_start_is_stationary() -> None:
    """Every word has the same probability at any place."""
    world = random_chain(3, seed=8, concentration=1.0, order=2)
    p = np.exp([world.log_probability(np.array(w)) for w in product(range(3), repeat=5)]).reshape((3,) * 5)
    np.testing.assert_allclose(p.sum((0, 1)), p.sum((3, 4)), atol=1e-12)


def test_the_entropy_rate_is_the_growth_of_block_entropy() -> None:
    for order in (1, 2, 3):
        world = random_chain(2, seed=order, concentration=1.0, order=order)
        blocks = [
            row_entropy(np.exp([world.log_probability(np.array(w)) for w in product(range(2), repeat=n)]))
            for n in (order, order + 1, 8)
        ]
        np.testing.assert_allclose(blocks[1] - blocks[0], world.entropy_rate(), atol=1e-10)
        np.testing.assert_allclose(blocks[2] - blocks[0], (8 - order) * world.entropy_rate(), atol=1e-10)


def test_order_one_written_as_order_two_is_the_same_process() -> None:
    one = random_chain(4, seed=2, concentration=1.0)
    two = MarkovWorld(np.broadcast_to(one.transitions, (4, 4, 4)))
    np.testing.assert_allclose(two.entropy_rate(), one.entropy_rate(), atol=1e-12)
    ids = np.array(one.corpus(1, 50, seed=0).documents[0].ids)
    np.testing.assert_allclose(two.log_probability(ids), one.log_probability(ids), atol=1e-9)
    assert one.identity.fingerprint != two.identity.fingerprint


def test_samples_of_order_two_cost_the_entropy_rate() -> None:
    """300 documents of 150 symbols against (H(π) + 148·h)/150 at 5 standard errors: false alarms 6e-7."""
    world = random_chain(4, seed=3, order=2)
    cost = (
        np.array(
            [-x.sum() for x in world.log_probs([np.array(d.ids) for d in world.corpus(300, 150, seed=1).documents])]
        )
        / 150
    )
    wanted = (row_entropy(world.initial.ravel()) + 148 * world.entropy_rate()) / 150
    error = cost.std(ddof=1) / np.sqrt(300)
    assert abs(cost.mean() - wanted) <= 5 * error < 0.05


def test_a_context_that_cannot_begin_a_text_has_a_law() -> None:
    world = MarkovWorld(np.full((2, 2, 2), 0.5), initial=np.array([[0.25, 0.75], [0, 0]]))
    table = world.probabilities(world.start([np.array(x, np.int64) for x in ([], [0], [1])]))
    np.testing.assert_allclose(table, [[1, 0], [0.25, 0.75], [0.5, 0.5]])


def test_lifted_by_hand() -> None:
    table = np.arange(8).reshape(2, 2, 2) / 10
    np.testing.assert_allclose(lifted(table), [[0, 0.1, 0, 0], [0, 0, 0.2, 0.3], [0.4, 0.5, 0, 0], [0, 0, 0.6, 0.7]])


def test_transient_states_have_no_share_and_parts_are_refused() -> None:
    law = stationary_law(np.array([[0.5, 0.5, 0], [0, 0.2, 0.8], [0, 0.4, 0.6]]))
    assert law[0] == 0
    np.testing.assert_allclose(law, [0, 1 / 3, 2 / 3], atol=1e-12)
    with pytest.raises(UsageError, match="2 parts"):
        MarkovWorld(np.eye(2))
    world = MarkovWorld(np.eye(2), initial=np.array([0.5, 0.5]))  # given its start it is a process
    np.testing.assert_allclose(np.exp(world.log_probability(np.array([1, 1, 1]))), 0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MarkovWorld(np.full(3, 1 / 3)), "transitions must be"),
        (lambda: MarkovWorld(np.full((2, 3, 3), 1 / 3)), "transitions must be"),
        (lambda: MarkovWorld(np.full((4,) * 7, 0.25)), "4096 contexts; at most 1024"),
        (lambda: MarkovWorld(np.full((2, 2, 2), 0.5), initial=np.array([0.5, 0.5])), "first 2 symbols"),
        (lambda: MarkovWorld(np.full((2, 2), 0.5), initial=np.array([0.5, 0.6])), "sums to 1"),
        (lambda: random_chain(8, order=0), "order=0"),
        (lambda: random_chain(8, order=4), "order=4"),
        (lambda: random_chain(0), "symbols=0"),
        (lambda: random_chain(3, seed=-1), "seed=-1"),
        (lambda: random_chain(3, concentration=-1.0), "concentration=-1.0"),
    ],
)
def test_what_is_no_chain_is_refused(make, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
