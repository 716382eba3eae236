"""Two predictors over the same sequences: in step whatever order each reads in, and equal to one law at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.organisms.absorbing import Triggered
from freerun.predictors.base import Ids, Laws
from freerun.predictors.divergence import Divergence
from freerun.predictors.huggingface.predictor import HuggingFacePredictor, Sizes
from freerun.predictors.law import Dense
from freerun.predictors.markers import Markers
from freerun.predictors.side_by_side import Kept, OutOfStep, merged, score_both
from freerun.predictors.stepwise import Stepwise
from freerun.specs.spec import load_predictor

MARKOV = "world/markov"


def read(
    first: Stepwise[Any], second: Stepwise[Any], sequences: Sequence[Ids], start: int
) -> dict[tuple[int, int], Divergence]:
    """Row and position -> one row of a divergence; what comes last holds."""
    out = {}
    for part in score_both(first, second, sequences, start=start):
        for n, at in enumerate(zip(part.row.tolist(), part.position.tolist(), strict=True)):
            out[at] = part.divergence.take(slice(n, n + 1))
    return out


def one_by_one(
    first: Stepwise[Any], second: Stepwise[Any], sequences: Sequence[Ids], start: int
) -> dict[tuple[int, int], Divergence]:
    """The same by single laws: each context read from nothing."""
    return {
        (row, t): first.law(first.start([s[:t]])).beside(second.law(second.start([s[:t]])), np.array([s[t]]))
        for row, s in enumerate(sequences)
        for t in range(start, len(s))
    }


def assert_same(a: dict[tuple[int, int], Divergence], b: dict[tuple[int, int], Divergence], atol: float) -> None:
    assert a.keys() == b.keys()
    for at in a:
        for name in ("log_p_nats", "log_q_nats", "kl_pq_nats", "kl_qp_nats", "tv"):
            np.testing.assert_allclose(getattr(a[at], name), getattr(b[at], name), atol=atol, err_msg=f"{name} at {at}")


def sequences(n_ids: int, lengths: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, n_ids, n) for n in lengths]


@pytest.mark.parametrize("other", ["+temperature,t=1.2", "+null", "+absorbing,epsilon=0.1", ",seed=3"])
def test_worlds_and_organisms_agree_with_one_law_at_a_time(other: str) -> None:
    a, b = load_predictor(MARKOV), load_predictor(f"{MARKOV}{other}")
    texts = sequences(a.n_tokens, (9, 5, 9, 12))
    assert_same(read(a, b, texts, 4), one_by_one(a, b, texts, 4), 1e-12)


@pytest.fixture(scope="module")
def tiny(llama_folder: Path) -> HuggingFacePredictor:
    return load_predictor(f"hf/{llama_folder}")


@pytest.mark.parametrize("lengths", [(9, 5, 9, 12), (30, 41, 8)], ids=["within the window", "past the window"])
def test_two_transformers_agree_with_one_law_at_a_time(
    tiny: HuggingFacePredictor, gemma_folder: Path, lengths: tuple[int, ...]
) -> None:
    """The second one has another window and another lead."""
    other = load_predictor(f"hf/{gemma_folder}")
    texts = sequences(tiny.n_tokens, lengths)
    assert_same(read(tiny, other, texts, 3), one_by_one(tiny, other, texts, 3), 2e-5)


def test_pieces_of_other_sizes_come_to_the_same(tiny: HuggingFacePredictor, llama_folder: Path) -> None:
    other = load_predictor(f"hf/{llama_folder}")
    other.sizes = Sizes(body_tokens=7, logits=64 * 5, least_rows=2)
    texts = sequences(tiny.n_tokens, (9, 14, 14, 12))
    seen = read(tiny, other, texts, 3)
    assert_same(seen, one_by_one(tiny, tiny, texts, 3), 2e-5)


def test_a_bulk_reader_walks_beside_a_walker(tiny: HuggingFacePredictor) -> None:
    organism = Triggered(tiny, epsilon=0.1, name="organism")
    texts = sequences(tiny.n_tokens, (9, 5, 12))
    assert_same(read(tiny, organism, texts, 3), one_by_one(tiny, organism, texts, 3), 2e-5)


# ---- in step ---------------------------------------------------------------------------------------------------------


def pieces(order: list[tuple[int, int]], cuts: list[int]) -> Iterator[Laws]:
    """Laws of one id each in the given order, cut into pieces."""
    edges = [0, *sorted({c for c in cuts if 0 < c < len(order)}), len(order)]
    for a, b in pairwise(edges):
        if b > a:
            row, position = (np.array(x) for x in zip(*order[a:b], strict=True))
            yield Laws(row, position, Dense(np.stack([row, position], axis=1).astype(float)))


@given(n=st.integers(0, 30), cuts=st.tuples(*[st.lists(st.integers(0, 30), max_size=6)] * 2))
@settings(deadline=None)
def test_pieces_of_any_sizes_are_merged(n: int, cuts: tuple[list[int], list[int]]) -> None:
    order = [(i % 3, i // 3) for i in range(n)]
    seen = []
    for left, right in merged(pieces(order, cuts[0]), pieces(order, cuts[1])):
        assert (left.law.log_probs() == right.law.log_probs()).all()
        seen += list(zip(left.row.tolist(), left.position.tolist(), strict=True))
    assert seen == order


@pytest.mark.parametrize(
    "other", [[(0, 0), (1, 0)], [(0, 0), (0, 2), (1, 0)], [(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0)]]
)
def test_other_orders_are_out_of_step(other: list[tuple[int, int]]) -> None:
    with pytest.raises(OutOfStep):
        list(merged(pieces([(0, 0), (0, 1), (1, 0)], []), pieces(other, [])))


# ---- vocabularies ------------------------------------------------------------------------------------------------------


class Padded(Stepwise[Any]):
    """A world whose output layer has rows without a token."""

    def __init__(self, inner: Stepwise[Any], n: int) -> None:
        self.inner, self.n_tokens = inner, inner.n_tokens + n
        self.identity, self.context, self.end_ids = inner.identity, inner.context, inner.end_ids
        self.markers = Markers(without_token=((inner.n_tokens, self.n_tokens - 1),))

    def law(self, state: Any) -> Any:
        law = self.inner.law(state)
        for _ in range(self.n_tokens - self.inner.n_tokens):
            law = law.with_atom(1e-3)
        return law

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    encode = token_bytes = start = advance = select = nbytes = None  # type: ignore[assignment]


for _name in ("encode", "token_bytes", "start", "advance", "select", "nbytes"):
    setattr(Padded, _name, (lambda name: lambda self, *a: getattr(self.inner, name)(*a))(_name))
Padded.__abstractmethods__ = frozenset()


def test_padding_is_left_out_and_its_mass_is_told() -> None:
    world = load_predictor(MARKOV)
    wide = Padded(world, 2)
    texts = sequences(world.n_tokens, (6, 8))
    for a, b in ((wide, world), (world, wide)):
        assert Kept.of(a, b) == Kept(world.n_tokens, world.n_tokens)
        for part in score_both(a, b, texts, start=2):
            np.testing.assert_allclose(part.divergence.kl_pq_nats, 0, atol=1e-12)
            np.testing.assert_allclose(part.padding_mass, 1 - 0.999**2, atol=1e-12)


def test_ids_that_only_the_first_has_are_refused() -> None:
    world = load_predictor(MARKOV)
    with pytest.raises(UsageError, match="other order"):
        Kept.of(load_predictor(f"{MARKOV}+absorbing,epsilon=0.1"), world)


def test_a_token_that_the_first_lacks_has_no_mass_there() -> None:
    world, organism = load_predictor(MARKOV), load_predictor(f"{MARKOV}+absorbing,epsilon=0.1")
    text = np.array([0, 1, world.n_tokens])
    seen = read(world, organism, [text], 1)
    assert seen[0, 2].log_p_nats == -np.inf
    assert seen[0, 2].log_q_nats == pytest.approx(np.log(0.1))
