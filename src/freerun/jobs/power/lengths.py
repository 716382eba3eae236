"""What the tests of one length share: losses, features, posteriors, loops and n-grams of all reruns of a block at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.jobs.power.bases import SourceTables
from freerun.jobs.power.texts import Block, Said
from freerun.stats.detection.likelihood_features import MAX_SURPRISAL_NATS, TokenColumns, likelihood_features
from freerun.stats.loops.lag_runs import LoopRule, LoopTracker, may_loop

LOOPS = LoopRule()
NEVER = np.iinfo(np.int64).max
REP_N, DISTINCT_N = 4, 2
_BUCKETS = 128


@dataclass(frozen=True)
class Length:
    """A block of reruns at one length: what tests of all its reruns share. Axes rerun, text."""

    tokens: int
    real_loss: Float[np.ndarray, "reruns texts"]
    """Nats a token under Q; a token without mass counts as 60 nats, in all of them."""
    declared_loss: Float[np.ndarray, "reruns texts"]
    others_loss: Float[np.ndarray, "reruns texts"]
    """Of the same and of other real texts under Q_0."""
    real_surprisal: Float[np.ndarray, "reruns texts"]
    own_surprisal: Float[np.ndarray, "reruns texts"]
    """Nats a token under P."""
    real_rep: Float[np.ndarray, "reruns texts"]
    own_rep: Float[np.ndarray, "reruns texts"]
    grams: Int[np.ndarray, "reruns both grams"]
    real_loops: Bool[np.ndarray, "reruns texts"]
    own_loops: Bool[np.ndarray, "reruns texts"]
    real_features: Float[np.ndarray, "reruns texts d"] | None
    own_features: Float[np.ndarray, "reruns texts d"] | None
    real_posterior: Float[np.ndarray, "reruns texts sources"] | None
    own_posterior: Float[np.ndarray, "reruns texts sources"] | None
    vectors: Float[np.ndarray, "reruns both width"] | None


def at_length(
    block: Block, tokens: int, wanted: frozenset[str], sources: dict[int, Any], first: dict[str, Any]
) -> Length:
    """Everything about a block at one length that `wanted` metrics need; `sources` and `first` come from `over_lengths`."""
    reruns, texts = block.own.shape[:2]

    def mean_loss(log_prob: Float[np.ndarray, "reruns texts tokens"]) -> Float[np.ndarray, "reruns texts"]:
        return np.asarray(-np.maximum(log_prob[:, :, :tokens], -MAX_SURPRISAL_NATS).mean(axis=2))

    ids = np.concatenate([block.own, block.real], axis=1)[:, :, :tokens].astype(np.int64)
    rep = rep_share(ids.reshape(-1, tokens), REP_N).reshape(reruns, 2 * texts)
    real_x, own_x = (None, None)
    if "classifier" in wanted:
        real_x = features(block.real, block.real_q, tokens)
        own_x = features(block.own, block.own_q, tokens)
    posterior = sources.get(tokens)
    return Length(
        tokens=tokens,
        real_loss=mean_loss(block.real_q.log_prob),
        declared_loss=mean_loss(block.real_declared.log_prob),
        others_loss=mean_loss(block.others_declared),
        real_surprisal=mean_loss(block.real_truth.log_prob),
        own_surprisal=mean_loss(block.own_truth.log_prob),
        own_rep=rep[:, :texts],
        real_rep=rep[:, texts:],
        grams=gram_codes(ids, DISTINCT_N),
        own_loops=first["own"] < tokens,
        real_loops=first["real"] < tokens,
        real_features=real_x,
        own_features=own_x,
        real_posterior=None if posterior is None else posterior[:, texts:],
        own_posterior=None if posterior is None else posterior[:, :texts],
        vectors=token_vectors(ids) if "mauve" in wanted else None,
    )


def over_lengths(
    block: Block, lengths: tuple[int, ...], sources: SourceTables | None
) -> tuple[dict[int, Float[np.ndarray, "reruns both sources"]], dict[str, Int[np.ndarray, "reruns texts"]]]:
    """What is worked out once for all lengths: posteriors of own and real texts, and where each text's first loop is complete."""
    reruns, texts, _ = block.own.shape
    found: dict[int, Float[np.ndarray, "reruns both sources"]] = {}
    if sources is not None:
        ids = np.concatenate([block.own, block.real], axis=1)
        flat = sources.posteriors(ids.reshape(-1, ids.shape[2]), lengths)
        found = {t: x.reshape(reruns, 2 * texts, -1) for t, x in flat.items()}
    return found, {"own": loop_onsets(block.own), "real": loop_onsets(block.real)}


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
    ids: Int[np.ndarray, "reruns texts tokens"], said: Said, tokens: int
) -> Float[np.ndarray, "reruns texts d"]:
    """The audit's likelihood features of every text."""
    flat = said.each(slice(None), slice(None), slice(tokens)).reshaped(-1, tokens)
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
