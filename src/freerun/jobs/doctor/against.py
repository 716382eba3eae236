"""Two models on the same tokens: how far the one that is examined lies from another."""

from __future__ import annotations

import numpy as np

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.stepwise import Stepwise
from freerun.results.doctor import Against

TEXTS = (
    "In the winter of that year the river froze over, and people walked across it to the market with their carts.",
    "The function returns the number of items in the list, or raises an error if the list is empty.",
    "Two hundred and forty members voted for the bill, and the Speaker declared it carried.",
    "A triangle with sides of 3, 4 and 5 units has a right angle opposite the longest of them.",
)
N_TOKENS = 24
"""Tokens of each text; a server may need a request for every one."""


def compare(model: Predictor, other: Predictor) -> Against:
    """Log-probabilities of the same tokens under both, and the KL divergence where both have whole laws.

    Raises:
        UsageError: they have different tokens.
    """
    texts = [np.asarray(model.encode(t)[:N_TOKENS], np.int64) for t in TEXTS]
    for text, ids in zip(TEXTS, texts, strict=True):
        if list(other.encode(text)[:N_TOKENS]) != ids.tolist():
            raise UsageError(
                f"--against {other.identity.name} does not share the tokens of {model.identity.name}: they cut one text otherwise"
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
