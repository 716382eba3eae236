"""What the tests of one length share: losses, features, posteriors, loops and n-grams of all reruns of a block at once."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from freerun.jobs.power.bases import SourceTables
from freerun.jobs.power.texts import Block, TokenScores
from freerun.stats.detection.likelihood_features import MAX_SURPRISAL_NATS, TokenColumns, likelihood_features
from freerun.stats.loops.lag_runs import LoopRule, may_loop
from freerun.stats.loops.tracker import LoopTracker

LOOPS = LoopRule()
NEVER = np.iinfo(np.int64).max
REP_N, DISTINCT_N = 4, 2
_BUCKETS = 128


class Sides(NamedTuple):
    """The same of own and of real texts; axes rerun, text."""

    own: np.ndarray
    real: np.ndarray


@dataclass(frozen=True)
class Length:
    """A block of reruns at one length: what all its tests share. Losses are nats a token; a token without mass counts as 60."""

    tokens: int
    real_loss: Float[np.ndarray, "reruns texts"]
    """Of real texts under Q."""
    declared_loss: Float[np.ndarray, "reruns texts"]
    others_loss: Float[np.ndarray, "reruns texts"]
    """Of the same and of other real texts under Q_0."""
    surprisal: Sides
    """Under P."""
    repetition: Sides
    grams: Sides
    loops: Sides
    features: Sides | None
    posterior: Sides | None
    vectors: Sides | None


def by_length(
    block: Block, lengths: Sequence[int], metrics: Container[str], sources: SourceTables | None
) -> Iterator[Length]:
    """A block at every length, with what these metrics need; `sources` where there is a posterior over them."""
    texts = block.own.shape[1]
    both = np.concatenate([block.own, block.real], axis=1).astype(np.int64)
    posteriors = {} if sources is None else sources.posteriors(both.reshape(-1, both.shape[2]), lengths)
    onsets = loop_onsets(both)

    def sides(values: np.ndarray) -> Sides:
        return Sides(values[:, :texts], values[:, texts:])

    for tokens in lengths:
        ids = both[:, :, :tokens]

        def mean_loss(log_prob: Float[np.ndarray, "reruns texts tokens"], tokens: int = tokens) -> np.ndarray:
            return np.asarray(-np.maximum(log_prob[:, :, :tokens], -MAX_SURPRISAL_NATS).mean(axis=2))

        yield Length(
            tokens=tokens,
            real_loss=mean_loss(block.real_q.log_prob),
            declared_loss=mean_loss(block.real_declared.log_prob),
            others_loss=mean_loss(block.others_declared),
            surprisal=Sides(mean_loss(block.own_truth.log_prob), mean_loss(block.real_truth.log_prob)),
            repetition=sides(rep_share(ids.reshape(-1, tokens), REP_N).reshape(ids.shape[:2])),
            grams=sides(gram_codes(ids, DISTINCT_N)),
            loops=sides(onsets < tokens),
            features=None
            if "classifier" not in metrics
            else Sides(features(block.own, block.own_q, tokens), features(block.real, block.real_q, tokens)),
            posterior=sides(posteriors[tokens].reshape(*ids.shape[:2], -1)) if tokens in posteriors else None,
            vectors=sides(token_vectors(ids)) if "mauve" in metrics else None,
        )


def loop_onsets(ids: Int[np.ndarray, "reruns texts tokens"]) -> Int[np.ndarray, "reruns texts"]:
    """Index of the token at which each text's first loop is complete; a number beyond every text where there is none."""
    flat = ids.reshape(-1, ids.shape[2]).astype(np.int64)
    onset = np.full(len(flat), NEVER)
    suspects = np.flatnonzero(may_loop(flat.ravel(), np.arange(1, len(flat) + 1) * flat.shape[1], LOOPS))
    # a longer phrase does not stand often enough in texts of this length
    rule = replace(LOOPS, max_period=max(1, min(LOOPS.max_period, flat.shape[1] // LOOPS.copies)))
    tracker = LoopTracker([np.zeros(0, np.int64)] * len(suspects), rule)
    for t in range(flat.shape[1] if len(suspects) else 0):
        complete = suspects[tracker.push(flat[suspects, t])]
        onset[complete] = np.minimum(onset[complete], t)
    return onset.reshape(ids.shape[:2])


def features(
    ids: Int[np.ndarray, "reruns texts tokens"], scores: TokenScores, tokens: int
) -> Float[np.ndarray, "reruns texts d"]:
    """The audit's likelihood features of every text."""
    flat = scores.each(slice(None), slice(None), slice(tokens)).reshaped(-1, tokens)
    columns = TokenColumns(
        flat.log_prob,
        flat.entropy,
        flat.varentropy,
        flat.rank,
        np.ascontiguousarray(ids[:, :, :tokens]).reshape(-1, tokens),
    )
    return likelihood_features(columns, length=tokens)[0].reshape(*ids.shape[:2], -1)


def gram_codes(ids: Int[np.ndarray, "*texts tokens"], n: int) -> Int[np.ndarray, "*texts grams"]:
    """A number for every n-gram, equal for equal ones across all texts; none for texts shorter than n."""
    width = int(ids.max()) + 1
    count = max(0, ids.shape[-1] - n + 1)
    code = np.zeros((*ids.shape[:-1], count), np.int64)
    for j in range(n):
        code = code * width + ids[..., j : j + count]
    return code


def rep_share(ids: Int[np.ndarray, "texts tokens"], n: int) -> Float[np.ndarray, " texts"]:
    """rep-n of every text: the share of n-grams that repeat an earlier one (Welleck et al. 2020); 0 for texts shorter than n."""
    codes = np.sort(gram_codes(ids, n), axis=1)
    if not codes.shape[1]:
        return np.zeros(len(ids))
    distinct = 1 + (codes[:, 1:] != codes[:, :-1]).sum(axis=1)
    return np.asarray(1.0 - distinct / codes.shape[1])


def token_vectors(ids: Int[np.ndarray, "reruns texts tokens"]) -> Float[np.ndarray, "reruns texts width"]:
    """A text as a point: shares of its tokens, and of its bigrams in 128 buckets (there is no encoder for ids)."""
    reruns, texts, tokens = ids.shape
    width = int(ids.max()) + 1
    rows = np.arange(reruns * texts)[:, None]
    flat = ids.reshape(-1, tokens)
    ones = np.bincount((rows * width + flat).ravel(), minlength=reruns * texts * width).reshape(-1, width)
    mixed = gram_codes(flat, 2).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bucket = (mixed >> np.uint64(57)).astype(np.int64)
    twos = np.bincount((rows * _BUCKETS + bucket).ravel(), minlength=reruns * texts * _BUCKETS).reshape(-1, _BUCKETS)
    return np.asarray(np.hstack([ones, twos]) / tokens).reshape(reruns, texts, -1)
