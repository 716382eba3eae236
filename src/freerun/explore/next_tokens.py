"""The law of the next token as the page shows it: its most probable tokens, and what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.explore.answers import Bar, NextTokens
from freerun.explore.spelling import shown_token
from freerun.jobs.predict import probable_tokens, spelled_tokens
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import Law
from freerun.results.finding import known


def from_law(
    predictor: Predictor, law: Law, top: int, temperature: float, watched: Int[np.ndarray, " ids"]
) -> NextTokens:
    """The `top` most probable tokens of a law of one row; `temperature` other than 1 is shown beside it, never in its place.

    `watched`: ids whose mass is wanted, because they would complete a loop.
    """
    tokens = probable_tokens(predictor, law, top)
    ids = np.array([t.id for t in tokens], np.int64)
    own = np.exp([t.log_prob_nats for t in tokens])
    edited = None if temperature == 1 else _probabilities(law.tempered(temperature), ids)
    left = np.maximum(0.0, 1.0 - np.cumsum(own))
    bars = tuple(
        Bar(
            id=token.id,
            shown=shown_token(token),
            probability=float(own[i]),
            beyond=float(left[i]),
            edited_probability=None if edited is None else float(edited[i]),
        )
        for i, token in enumerate(tokens)
    )
    ends = predictor.end_ids
    return NextTokens(
        bars=bars,
        rest=float(left[-1]) if bars else 1.0,
        n_rest=law.n_tokens - len(bars),
        edited_rest=None if edited is None else max(0.0, 1.0 - float(edited.sum())),
        entropy_nats=known(float(law.entropy()[0])),
        end_probability=known(float(law.mass(ends)[0])) if ends else None,
        loop_mass=float(law.mass(watched.tolist())[0]) if len(watched) else 0.0,
        temperature=temperature,
        n_draws=None,
    )


def from_draws(predictor: Predictor, ids: Sequence[int], n: int) -> NextTokens:
    """What a backend without laws tells of the next token: the tokens of `n` draws, and the most probable one where it names it.

    Each has the probability that the backend gave it. Nothing is estimated from how often a token was drawn.
    """
    keys = np.array([[sequence_key("explore next", i) for i in range(n)]], np.uint64)
    todo = Continuations([np.array(ids, np.int64)], keys, 1)
    log_probs: dict[int, float] = {}
    for sample in predictor.generate(todo):
        seen = sample.observation
        log_probs[int(seen.token_id[0])] = float(seen.log_prob_nats[0])
        if seen.top_id[0] >= 0:
            log_probs[int(seen.top_id[0])] = float(seen.top_log_prob_nats[0])
    ranked = sorted(((p, i) for i, p in log_probs.items() if math.isfinite(p)), key=lambda x: (-x[0], x[1]))
    spelled = spelled_tokens(predictor, np.array([i for _, i in ranked], np.int64))
    bars = tuple(
        Bar(id=i, shown=shown_token(token), probability=min(1.0, math.exp(p)))
        for token, (p, i) in zip(spelled, ranked, strict=True)
    )
    return NextTokens(
        bars=bars,
        rest=max(0.0, 1.0 - sum(b.probability for b in bars)),
        n_rest=predictor.n_tokens - len(bars),
        edited_rest=None,
        entropy_nats=None,
        end_probability=None,
        loop_mass=None,
        temperature=1.0,
        n_draws=n,
    )


def _probabilities(law: Law, ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.array([float(law.mass([int(i)])[0]) for i in ids])
