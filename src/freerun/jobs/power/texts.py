"""Texts of a rerun, and what both laws give them.

A rerun has 2n real texts (n of them only for the loss of the truth beside that of the model) and n own texts, all drawn afresh: its
uniforms come from (seed, base, organism, rerun) alone, so that blocks, workers and resumes do not change it. Real texts are the
same for every organism over a base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.organisms.hashed import Hashed
from freerun.organisms.wrapper import Organism
from freerun.predictors.base import Predictor
from freerun.predictors.law import Law
from freerun.predictors.observation import Observation
from freerun.predictors.stepwise import as_stepwise

_ELEMENTS = 1 << 18
"""Rows × vocabulary of one piece of a law: larger ones would be worked out row by row where rows change hands."""
_MOST_ROWS = 4096
_COLUMNS = ("log_prob_nats", "entropy_nats", "varentropy_nats2", "rank")
REAL, OWN, TESTS = 1, 2, 3
Ids = Int[np.ndarray, "texts tokens"]


@dataclass(frozen=True)
class TokenScores:
    """What a law gives every token of some texts; axes as in the ids. Ids that it does not know have log-probability −inf."""

    log_prob: Float[np.ndarray, "*texts tokens"]
    entropy: Float[np.ndarray, "*texts tokens"]
    varentropy: Float[np.ndarray, "*texts tokens"]
    rank: Int[np.ndarray, "*texts tokens"]

    def each(self, *index: Any) -> TokenScores:
        """The same for some of the texts."""
        return TokenScores(*(column[index] for column in astuple(self)))

    def reshaped(self, *shape: int) -> TokenScores:
        return TokenScores(*(column.reshape(shape) for column in astuple(self)))


@dataclass(frozen=True)
class Block:
    """Reruns side by side: axes rerun, text, token. `q` is the organism's law, `truth` the base's."""

    real: Int[np.ndarray, "reruns texts tokens"]
    own: Int[np.ndarray, "reruns texts tokens"]
    real_q: TokenScores
    own_q: TokenScores
    real_truth: TokenScores
    own_truth: TokenScores
    real_declared: TokenScores
    own_declared: TokenScores
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
    n = (len(reruns), texts, tokens)
    draws = np.stack([stream(REAL, seed, base, rerun=r).random((2 * texts, tokens)) for r in reruns])
    both, by_truth = written(truth, draws.reshape(-1, tokens))
    both, by_truth = both.reshape(draws.shape), by_truth.reshaped(*draws.shape)
    real, others = both[:, :texts], both[:, texts:]
    real_truth = by_truth.each(slice(None), slice(texts))

    head = header_tokens(model) if model is not None else 0
    draws = np.stack([stream(OWN, seed, base, organism, rerun=r).random((texts, head + tokens)) for r in reruns])
    own, by_writer = written(truth if model is None else model, draws.reshape(-1, head + tokens))
    own, own_q = own.reshape(n), by_writer.reshaped(*n)

    def rescored(law: Predictor, ids: Ids) -> TokenScores:
        return scored(law, ids.reshape(-1, tokens)).reshaped(*n)

    real_q, own_truth = (real_truth, own_q) if model is None else (rescored(model, real), rescored(truth, own))
    real_declared, own_declared, others_declared = real_truth, own_truth, by_truth.log_prob[:, texts:]
    if declared is not None:
        real_declared, own_declared = rescored(declared, real), rescored(declared, own)
        others_declared = rescored(declared, others).log_prob
    return Block(real, own, real_q, own_q, real_truth, own_truth, real_declared, own_declared, others_declared)


def header_tokens(predictor: Predictor) -> int:
    """Tokens before the body of each document, which are sampled and paid for but neither measured nor shown."""
    return predictor.header_tokens if isinstance(predictor, Organism) else 0


def written(predictor: Predictor, draws: Float[np.ndarray, "texts tokens"]) -> tuple[Ids, TokenScores]:
    """Texts from the start by inverse CDF, one a row of uniforms, and what the law gives them; headers are left out.

    `Law.observe` draws and observes in one go, as in an audit. No token ends a text: lengths are fixed.
    """
    ids, scores = _walk(predictor, draws, lambda law, uniforms: law.observe(uniforms=uniforms))
    head = slice(header_tokens(predictor), None)
    return ids[:, head], scores.each(slice(None), head)


def scored(predictor: Predictor, ids: Ids) -> TokenScores:
    """What a law gives texts; ids that it does not know are impossible, and it reads id 0 in their place."""
    if isinstance(predictor, Hashed):
        ids = np.stack([predictor.dress(d, seed=0, key=predictor.header_key(d)) for d in ids])

    def observe(law: Law, column: Int[np.ndarray, " texts"]) -> Observation:
        known = column < law.n_tokens
        seen = law.observe(np.where(known, column, 0).astype(np.int64))
        return replace(seen, log_prob_nats=np.where(known, seen.log_prob_nats, -np.inf))

    return _walk(predictor, ids, observe)[1].each(slice(None), slice(header_tokens(predictor), None))


def _walk(
    predictor: Predictor, columns: np.ndarray, observe: Callable[[Law, np.ndarray], Observation]
) -> tuple[Ids, TokenScores]:
    """Texts token by token: `observe` gets the law of every text and its entry of that token's column."""
    predictor = as_stepwise(predictor, "power")
    step = max(1, min(_MOST_ROWS, _ELEMENTS // (predictor.n_tokens + 1)))
    pieces = []
    for rows in (columns[first : first + step] for first in range(0, len(columns), step)):
        state = predictor.start([np.zeros(0, np.int64)] * len(rows))
        observations: list[Observation] = []
        for column in rows.T:
            if observations:
                state = predictor.advance(state, observations[-1].token_id.astype(np.int64))
            observations.append(observe(predictor.law(state), column))
        pieces.append([np.stack([getattr(o, name) for o in observations], axis=1) for name in ("token_id", *_COLUMNS)])
    ids, *scores = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    return ids, TokenScores(*scores)
