"""Two models on the same tokens: how far the one that is examined lies from another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from freerun.errors import UsageError
from freerun.jobs.doctor.short_verify import laws_served
from freerun.jobs.doctor.texts import TEXTS, first_tokens
from freerun.jobs.served.law import gap_between
from freerun.predictors.base import Predictor
from freerun.predictors.servers.predictor import ServedModel
from freerun.predictors.stepwise import Stepwise
from freerun.results.doctor import Against

N_TOKENS = 24
"""Tokens of each text; a server may need a request for every one."""


def compare(model: Predictor, other: Predictor, say: Callable[[str], None] = lambda _: None) -> Against:
    """Log-probabilities of the same tokens under both, and the KL divergence where both have whole laws; of a server also which
    law it samples.

    Raises:
        UsageError: they have different tokens.
    """
    texts = [first_tokens(model, i, N_TOKENS) for i in range(len(TEXTS))]
    for text in texts:
        if any(i >= other.n_tokens or model.token_bytes(i) != other.token_bytes(i) for i in text.tolist()):
            raise UsageError(
                f"--against {other.identity.name} does not share the tokens of {model.identity.name}; choose a model with the same "
                "tokenizer"
            )
    a, b = (np.concatenate(m.log_probs(texts, first=1)) for m in (model, other))
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, a - b)
    largest = float(np.abs(difference).max())
    finite = difference[np.isfinite(difference)]
    return Against(
        model=other.identity.name,
        n_tokens=len(difference),
        mean_absolute_nats=float(np.abs(finite).mean()),
        largest_nats=largest if np.isfinite(largest) else None,
        mean_difference_nats=float(finite.mean()),
        kl_nats=_kl(model, other, texts),
        laws_served=laws_served(model, other, gap_between(a, b), say)
        if isinstance(model, ServedModel) and other.capabilities.full_law
        else (),
    )


def _kl(model: Predictor, other: Predictor, texts: list[np.ndarray]) -> float | None:
    """Mean KL(model ‖ other) over the places of the texts, nats a token."""
    if not isinstance(model, Stepwise) or not isinstance(other, Stepwise) or model.n_tokens != other.n_tokens:
        return None
    total, n = 0.0, 0
    for text in texts:
        for end in range(1, len(text)):
            p, q = (m.law(m.start([text[:end]])).log_probs()[0] for m in (model, other))
            with np.errstate(invalid="ignore"):
                total += float(np.where(p > -np.inf, np.exp(p) * (p - q), 0.0).sum())
            n += 1
    return total / n if np.isfinite(total) else None
