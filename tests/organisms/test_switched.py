"""Rows that change hands all the time: whatever order they stand in, each is where its own tokens sent it."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.organisms.switched import Switched
from freerun.predictors.base import Predictor
from freerun.worlds.markov import random_chain

WORLDS = tuple(random_chain(4, seed=s, concentration=1.0) for s in range(4))


class Restless(Switched):
    """After token i (but 0) the world i writes, from nothing, or goes on if it was writing; the notes count tokens."""

    @property
    def routes(self) -> tuple[Predictor, ...]:
        return WORLDS

    def _begin(self) -> Any:
        return 0

    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        return (token_id or route), notes + 1

    def _first_read(self, route: int, notes: Any) -> np.ndarray:
        return np.array([notes % 4], np.int64) if route == 3 else np.zeros(0, np.int64)


RESTLESS = Restless(WORLDS[0], name="restless", kind="restless()")
TOKENS = st.lists(st.integers(0, 3), max_size=12)


def law_by_hand(tokens: list[int]) -> np.ndarray:
    """Which world, and what it has read, told without lanes."""
    route, read = 0, []
    for i, t in enumerate(tokens):
        now = t or route
        read = ([(i + 1) % 4] if now == 3 else []) if now != route else [*read, t]
        route = now
    world = WORLDS[route]
    return np.asarray(world.law(world.start([np.array(read, np.int64)])).probs()[0])


def assert_is(state: Any, texts: list[list[int]]) -> None:
    np.testing.assert_allclose(RESTLESS.law(state).probs(), [law_by_hand(t) for t in texts], atol=1e-14)
    assert [RESTLESS.route_of(np.array(t, np.int64)) for t in texts] == state.lanes.route.tolist()
    assert list(state.notes) == [len(t) for t in texts]


def start(texts: list[list[int]]) -> Any:
    return RESTLESS.start([np.array(t, np.int64) for t in texts])


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(TOKENS, min_size=1, max_size=6), data=st.data())
def test_every_row_is_where_its_tokens_sent_it(texts: list[list[int]], data: st.DataObject) -> None:
    state = start(texts)
    for _ in range(5):
        assert_is(state, texts)
        ids = [data.draw(st.integers(0, 3)) for _ in texts]
        old = texts
        stepped = RESTLESS.advance(state, np.array(ids))
        texts = [[*t, i] for t, i in zip(texts, ids, strict=True)]
        assert_is(stepped, texts)
        assert_is(state, old)
        rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
        state, texts = RESTLESS.select(stepped, np.array(rows)), [texts[r] for r in rows]
    other = data.draw(st.lists(TOKENS, min_size=1, max_size=3))
    assert_is(RESTLESS.join([state, start(other), state]), [*texts, *other, *texts])
    assert_is(RESTLESS.select(state, np.arange(len(texts))), texts)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TOKENS, min_size=2, max_size=8), data=st.data())
def test_a_piece_of_a_routed_law_is_a_piece_of_the_whole(texts: list[list[int]], data: st.DataObject) -> None:
    state = start(texts)
    order = data.draw(st.permutations(range(len(texts))))
    law = RESTLESS.law(RESTLESS.advance(RESTLESS.select(state, np.array(order)), np.zeros(len(texts), np.int64)))
    whole = law.block(0, law.n_rows).probs
    a = data.draw(st.integers(0, law.n_rows - 1))
    b = data.draw(st.integers(a + 1, law.n_rows))
    np.testing.assert_array_equal(law.block(a, b).probs, whole[a:b])
    np.testing.assert_array_equal(law.take(np.array([b - 1, a])).probs(), whole[[b - 1, a]])
