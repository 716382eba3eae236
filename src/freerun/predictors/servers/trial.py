"""What a served model is tried on before anything is made of it: a few tokens scored twice, drawn, and scored again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import BackendError
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.servers.predictor import ServedModel

WORDS = "In the winter of that year the river froze over, and people walked across it to the market with their carts."
TRIAL_TOKENS = 12
DRAWN_TOKENS = 16
MEAN_NATS = 0.1
"""Two right answers about one token differ by less than this on average, whatever the number format."""
COOLED = 0.5
CHANCE_NATS = -14.0
"""Two draws of one text are no chance where its log-probability is below this (one in a million)."""


@dataclass(frozen=True)
class Gap:
    """How far two lists of log-probabilities of the same tokens lie apart, nats."""

    mean_nats: float
    largest_nats: float
    n_tokens: int

    @staticmethod
    def between(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Gap:
        """Of two −inf it is 0."""
        with np.errstate(invalid="ignore"):
            apart = np.where(a == b, 0.0, np.abs(a - b))
        return Gap(float(apart.mean()), float(apart.max()), len(apart)) if len(apart) else Gap(0.0, 0.0, 0)


def trial_ids(model: ServedModel, n: int = TRIAL_TOKENS) -> np.ndarray:
    """The first tokens of a plain sentence."""
    return np.asarray(model.encode(WORDS)[:n], np.int64)


def scored_twice(model: ServedModel) -> Gap:
    """The same text, the same question, two times."""
    ids = trial_ids(model)
    one, two = (model.log_probs([ids], first=1)[0] for _ in range(2))
    return Gap.between(one, two)


def drawn_and_scored(model: ServedModel, sampling: SamplingRule = MODEL_LAW, *, seed: int = 0) -> Gap:
    """What the server says of tokens as it draws them, beside what it says of them as a text that is sent."""
    ids = trial_ids(model)
    drawn = model.reported(ids, DRAWN_TOKENS, sampling, seed=seed)
    text = np.concatenate([ids, drawn.token_id]).astype(np.int64)
    return Gap.between(drawn.log_prob_nats, model.log_probs([text], first=len(ids))[0])


def ignores_seeds(model: ServedModel) -> bool:
    """Whether two seeds give one text that is too unlikely to come twice: a seed of the server's own, or a cache that answers."""
    one, two = (model.reported(trial_ids(model), DRAWN_TOKENS, MODEL_LAW, seed=seed) for seed in (0, 1))
    return np.array_equal(one.token_id, two.token_id) and float(one.log_prob_nats.sum()) < CHANCE_NATS


def try_out(model: ServedModel) -> None:
    """See that the model can be used, and whether what it says of cooled draws is of its own law.

    Raises:
        BackendError: two answers to one question differ, scorer and sampler disagree, or all seeds give one text.
    """
    name = model.identity.name
    twice = scored_twice(model)
    if twice.mean_nats > MEAN_NATS:
        raise BackendError(
            f"{name}: two answers to one question differ by {twice.mean_nats:.2g} nats a token, so it has no law to audit; "
            f"`freerun doctor {name}` says more"
        )
    sampled = drawn_and_scored(model)
    if sampled.mean_nats > MEAN_NATS:
        raise BackendError(
            f"{name}: what it says of tokens that it draws and of the same tokens as a text differ by {sampled.mean_nats:.2g} nats "
            f"a token, so it does not sample the law that it scores by; `freerun doctor {name}` says more"
        )
    if model.sends_rule and ignores_seeds(model):
        raise BackendError(
            f"{name}: two seeds give the same text, so its texts are not independent draws: it goes by a seed of its own, or a "
            f"cache answers in its place; `freerun doctor {name}` says more"
        )
    cooled = drawn_and_scored(model, SamplingRule.of(temperature=COOLED), seed=1)
    model.raw_at_any_temperature = cooled.mean_nats <= MEAN_NATS / 2
