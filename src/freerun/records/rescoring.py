"""The second look at what was sampled: some of a run's texts scored again by a fresh pass that shares nothing with the sampler.

A text is scored alone, one row, from its ids. Which texts is decided by the plan: evenly spread over documents, replicates in turn.
Where arithmetic is rounded (bf16) a few tokens of real text are scored again as well, each from a pass that ends with it: two right
computations of one law, whose differences are the floor that own text is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BrokenLaw
from freerun.predictors.base import Predictor
from freerun.predictors.observation import Observation
from freerun.records.plan import RESCORED_TOKENS
from freerun.stats.loops.lag_runs import LoopRule
from freerun.text.pairs import Pair

LEAST_TEXTS = 16
MOST_SHARE = 1 / 8
_GOLDEN = (5**0.5 - 1) / 2
FLOOR_TOKENS = 96
"""Real tokens that are scored again for the floor of rounded arithmetic."""
FLOOR_TEXTS = 24


@dataclass(frozen=True)
class Fresh:
    """What a fresh pass says of the tokens of one text; NaN where a token was not scored again.

    `cdf_below` is the mass on smaller ids, `cdf_upto` with the token's own. `repeat_mass` is the mass on ids that stand in the
    context already, `repeats` whether the token is one of them (1 or 0).
    """

    log_prob_nats: Float[np.ndarray, " tokens"]
    cdf_below: Float[np.ndarray, " tokens"]
    cdf_upto: Float[np.ndarray, " tokens"]
    repeat_mass: Float[np.ndarray, " tokens"]
    repeats: Float[np.ndarray, " tokens"]


class InContext(LoopRule):
    """Watches every id that stands in the context already."""

    def watched(self, ids: Int[np.ndarray, " tokens"], *, start: int) -> list[Int[np.ndarray, " _ids"]]:
        distinct, at = np.unique(ids, return_index=True)
        return [distinct[at < t] for t in range(start, ids.size)]


def n_rescored_texts(n_texts: int, tokens: int, *, rescored_tokens: int = RESCORED_TOKENS) -> int:
    """How many of the own texts, of `tokens` tokens each, are scored again.

    >>> [n_rescored_texts(*run) for run in ((256, 128), (48, 32), (4096, 32), (256, 1024), (6, 32))]
    [32, 16, 128, 16, 6]
    """
    wanted = min(rescored_tokens // tokens, int(n_texts * MOST_SHARE))
    return min(n_texts, max(LEAST_TEXTS, wanted))


def rescored_texts(
    n_pairs: int, continuations: int, tokens: int, *, rescored_tokens: int = RESCORED_TOKENS
) -> frozenset[tuple[int, int]]:
    """Which own texts are scored again, as (number of the pair, replicate).

    >>> sorted(rescored_texts(40, 2, 128))[:4]
    [(0, 0), (4, 1), (6, 0), (7, 1)]
    """
    n = n_rescored_texts(n_pairs * continuations, tokens, rescored_tokens=rescored_tokens)
    return frozenset((pair, j % continuations) for j, pair in enumerate(_spread(n, n_pairs)))


def floor_tokens(n_pairs: int, tokens: int) -> dict[int, tuple[int, ...]]:
    """Which real tokens are scored again, as number of the pair -> positions from the cut."""
    chosen = _spread(min(n_pairs, FLOOR_TEXTS), n_pairs)
    each = min(tokens, -(-FLOOR_TOKENS // len(chosen)))
    # each token comes from its own part of the text, and its place there goes on from text to text
    return {
        pair: tuple(sorted({min(tokens - 1, (k * tokens + j * tokens // len(chosen)) // each) for k in range(each)}))
        for j, pair in enumerate(chosen)
    }


def n_floor_tokens_read(n_pairs: int, context: int, tokens: int) -> int:
    """Tokens that are read to score `floor_tokens`, each after all before it."""
    return sum(context + t + 1 for places in floor_tokens(n_pairs, tokens).values() for t in places)


def _spread(n: int, n_pairs: int) -> list[int]:
    """n numbers below n_pairs, one from each of n equal stretches; each at most ⌈n / n_pairs⌉ times.

    The place in the stretch goes by the golden ratio: with a fixed one a fault at every eighth row could be missed every time.
    """
    if n > n_pairs:
        return [(2 * j + 1) * n_pairs // (2 * n) for j in range(n)]
    ends = [j * n_pairs // n for j in range(n + 1)]
    places = (np.arange(n) + 0.5) * _GOLDEN % 1
    return [a + int(place * (b - a)) for a, b, place in zip(ends, ends[1:], places, strict=False)]


def score_again(predictor: Predictor, pair: Pair, ids: Int[np.ndarray, " tokens"]) -> Fresh:
    """A whole text after the pair's context, alone and from its ids."""
    seen = _scored(predictor, pair, ids, first=0, rule=InContext())
    text, start = np.concatenate([pair.context, ids]), len(pair.context)
    repeats = [id_ in known for id_, known in zip(ids, InContext().watched(text, start=start), strict=True)]
    return Fresh(seen.log_prob_nats, seen.cdf_below, _upto(seen), seen.loop_mass, np.array(repeats, np.float64))


def score_tokens_again(predictor: Predictor, pair: Pair, places: Sequence[int]) -> Fresh:
    """Some tokens of the real continuation, each by a pass over the text that ends with it."""
    columns = np.full((5, len(pair.continuation)), np.nan)
    for at in (place for place in places if place < len(pair.continuation)):
        seen = _scored(predictor, pair, pair.continuation[: at + 1], first=at)
        columns[:3, at] = seen.log_prob_nats[0], seen.cdf_below[0], _upto(seen)[0]
    return Fresh(*columns)


def _scored(
    predictor: Predictor, pair: Pair, ids: Int[np.ndarray, " tokens"], *, first: int, rule: LoopRule | None = None
) -> Observation:
    """What a pass over context and ids says of the ids from `first` on."""
    text = np.concatenate([pair.context, ids]).astype(np.int64)
    chunks = list(predictor.score([text], first=len(pair.context) + first, loop_rule=rule))
    order = np.argsort(np.concatenate([c.position for c in chunks]), kind="stable")
    seen = Observation.concatenate([c.observation for c in chunks]).take(order)
    if np.isnan(seen.log_prob_nats).any():
        raise BrokenLaw("the model's law is NaN: the checkpoint or its number format is broken")
    return seen


def _upto(seen: Observation) -> Float[np.ndarray, " tokens"]:
    """F(≤ x); rounding may not carry it beyond 1."""
    return np.asarray(np.minimum(seen.cdf_below + np.exp(seen.log_prob_nats), 1.0))
