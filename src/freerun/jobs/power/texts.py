"""Texts of a rerun, and what both laws say of them.

A rerun has 2n real texts (n of them only for the loss of the truth beside that of the model) and n own texts, all drawn afresh: its
uniforms come from (seed, base, organism, rerun) alone, so that blocks, workers and resumes do not change it. Real texts are the
same for every organism over a base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.organisms.hashed import Hashed
from freerun.organisms.wrapper import Organism
from freerun.predictors.base import Predictor
from freerun.predictors.observation import Observation
from freerun.predictors.stepwise import as_stepwise

_ELEMENTS = 1 << 18
"""Rows × vocabulary of one piece of a law: larger ones would be worked out row by row where rows change hands."""
_MOST_ROWS = 4096
REAL, OWN, TESTS = 1, 2, 3
Ids = Int[np.ndarray, "texts tokens"]


@dataclass(frozen=True)
class Said:
    """What one law says of every token of some texts; axes as in the ids. Ids that it does not know have log-probability −inf."""

    log_prob: Float[np.ndarray, "*texts tokens"]
    entropy: Float[np.ndarray, "*texts tokens"]
    varentropy: Float[np.ndarray, "*texts tokens"]
    rank: Int[np.ndarray, "*texts tokens"]

    def each(self, *index: Any) -> Said:
        """The same for some of the texts."""
        return Said(self.log_prob[index], self.entropy[index], self.varentropy[index], self.rank[index])

    def reshaped(self, *shape: int) -> Said:
        return Said(*(x.reshape(shape) for x in (self.log_prob, self.entropy, self.varentropy, self.rank)))


@dataclass(frozen=True)
class Block:
    """Reruns side by side: axes rerun, text, token. `q` is the organism's law, `truth` the base's."""

    real: Int[np.ndarray, "reruns texts tokens"]
    own: Int[np.ndarray, "reruns texts tokens"]
    real_q: Said
    own_q: Said
    real_truth: Said
    own_truth: Said
    real_declared: Said
    own_declared: Said
    """Under the law that the model is declared to be: the truth, but for organisms on a base that is itself wrong."""
    others_declared: Float[np.ndarray, "reruns texts tokens"]
    """Log-probabilities of n other real texts under the declared law."""


def stream(kind: int, seed: int, *names: str, rerun: int) -> np.random.Generator:
    """The generator of one purpose in one rerun."""
    return np.random.default_rng([seed, kind, rerun, *"\x1f".join(names).encode()])


def draw_block(
    base: str,
    organism: str,
    truth: Predictor,
    model: Predictor | None,
    *,
    declared: Predictor | None = None,
    reruns: Sequence[int],
    texts: int,
    tokens: int,
    seed: int,
) -> Block:
    """Sample and score the reruns; None stands for the truth itself, whose laws are then worked out once."""
    draws = np.stack([stream(REAL, seed, base, rerun=r).random((2 * texts, tokens)) for r in reruns])
    real, said = written(truth, draws.reshape(-1, tokens))
    shape = (len(reruns), 2 * texts, tokens)
    real, said = real.reshape(shape), said.reshaped(*shape)
    others, real_truth = real[:, texts:], said.each(slice(None), slice(texts))
    others_declared = said.log_prob[:, texts:]
    real = real[:, :texts]
    flat, n = real.reshape(-1, tokens), (len(reruns), texts, tokens)

    head = header_tokens(model) if model is not None else 0
    draws = np.stack([stream(OWN, seed, base, organism, rerun=r).random((texts, head + tokens)) for r in reruns])
    own, said = written(truth if model is None else model, draws.reshape(-1, head + tokens))
    own_q = own_truth = said.reshaped(*n)
    real_q = real_truth
    if model is not None:
        real_q = scored(model, flat).reshaped(*n)
        own_truth = scored(truth, own).reshaped(*n)
    real_declared, own_declared = real_truth, own_truth
    if declared is not None:
        real_declared = scored(declared, flat).reshaped(*n)
        own_declared = scored(declared, own).reshaped(*n)
        others_declared = scored(declared, others.reshape(-1, tokens)).log_prob.reshape(n)
    return Block(
        real, own.reshape(n), real_q, own_q, real_truth, own_truth, real_declared, own_declared, others_declared
    )


def header_tokens(predictor: Predictor) -> int:
    """Tokens before the body of each document, which are sampled and paid for but neither measured nor shown."""
    return predictor.header_tokens if isinstance(predictor, Organism) else 0


def written(predictor: Predictor, draws: Float[np.ndarray, "texts tokens"]) -> tuple[Ids, Said]:
    """Texts from the start by inverse CDF, one a row of uniforms, and what the law says of them; headers are left out.

    `Law.observe` draws and observes in one go, as in an audit. No token ends a text: lengths are fixed.
    """
    return _walked(predictor, draws, None)


def scored(predictor: Predictor, ids: Ids) -> Said:
    """What a law says of given texts; ids that it does not know are impossible, and it reads id 0 in their place."""
    if isinstance(predictor, Hashed):
        headed = [predictor.dress(d, seed=0, key=predictor.header_key(d)) for d in ids]
        ids = np.stack(headed) if headed else ids
    return _walked(predictor, None, ids)[1]


def _walked(
    predictor: Predictor, draws: Float[np.ndarray, "texts tokens"] | None, given: Ids | None
) -> tuple[Ids, Said]:
    predictor = as_stepwise(predictor, "power")
    source = given if given is not None else draws
    assert source is not None
    n, length = source.shape
    head = header_tokens(predictor)
    ids = np.zeros((n, length), np.int32)
    log_prob, entropy, varentropy = (np.zeros((n, length)) for _ in range(3))
    rank = np.zeros((n, length), np.int32)
    step = max(1, min(_MOST_ROWS, _ELEMENTS // (predictor.n_tokens + 1)))
    for first in range(0, n, step):
        rows = slice(first, min(first + step, n))
        state = predictor.start([np.zeros(0, np.int64)] * (rows.stop - first))
        for t in range(length):
            law = predictor.law(state)
            if given is None:
                assert draws is not None
                seen = law.observe(uniforms=draws[rows, t])
                known = np.ones(rows.stop - first, bool)
            else:
                known = given[rows, t] < predictor.n_tokens
                seen = law.observe(np.where(known, given[rows, t], 0).astype(np.int64))
            _enter(rows, t, seen, known, ids, log_prob, entropy, varentropy, rank)
            if t < length - 1:
                state = predictor.advance(state, seen.token_id.astype(np.int64))
    if given is not None:
        ids = np.asarray(given, np.int32)
    return ids[:, head:], Said(log_prob, entropy, varentropy, rank).each(slice(None), slice(head, None))


def _enter(
    rows: slice,
    t: int,
    seen: Observation,
    known: np.ndarray,
    ids: np.ndarray,
    log_prob: np.ndarray,
    *others: np.ndarray,
) -> None:
    entropy, varentropy, rank = others
    ids[rows, t] = seen.token_id
    log_prob[rows, t] = np.where(known, seen.log_prob_nats, -np.inf)
    entropy[rows, t], varentropy[rows, t], rank[rows, t] = seen.entropy_nats, seen.varentropy_nats2, seen.rank
