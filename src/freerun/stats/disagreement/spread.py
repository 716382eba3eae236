"""How far the laws of several models differ at a token, and how probable the token is to the models that are left out.

All logarithms are natural. A row is one token with the text before it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr, logsumexp

from freerun.errors import DataError

Laws = Float[np.ndarray, "models rows vocabulary"]


def entropy(laws: Float[np.ndarray, "*rows vocabulary"]) -> Float[np.ndarray, "*rows"]:
    """Return Shannon entropies, nats.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4).tolist()
    [0.6931, 0.0]
    """
    return np.asarray(entr(laws).sum(-1))


def generalised_js(laws: Laws) -> Float[np.ndarray, " rows"]:
    """Return H(mean q) − mean H(q) over the models (Lin 1991, eq. 4.3), nats: 0 where all agree, at most ln(models).

    >>> generalised_js(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).round(4).tolist()
    [0.6931]
    """
    _check_models(laws)
    js = entropy(laws.mean(0)) - entropy(laws).mean(0)
    return np.asarray(np.where((laws == laws[0]).all((0, 2)), 0.0, np.maximum(js, 0.0)))


def pairwise_js(laws: Laws) -> Float[np.ndarray, "models models"]:
    """Return the Jensen–Shannon divergence of every two models, nats, as a mean over the rows; it is a squared metric."""
    _check_models(laws)
    own, n = entropy(laws), len(laws)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            same = (laws[i] == laws[j]).all(-1)
            js = entropy((laws[i] + laws[j]) / 2) - (own[i] + own[j]) / 2
            out[i, j] = out[j, i] = float(np.where(same, 0.0, np.maximum(js, 0.0)).mean())
    return out


def departure(laws: Laws) -> Float[np.ndarray, "models rows"]:
    """Return the Jensen–Shannon divergence of each model from the mean law of all others, nats."""
    _check_models(laws)
    rest = (laws.sum(0) - laws) / (len(laws) - 1)
    return np.asarray(np.maximum(entropy((laws + rest) / 2) - (entropy(laws) + entropy(rest)) / 2, 0.0))


def leave_one_out(log_probs: Float[np.ndarray, "models *rows"]) -> Float[np.ndarray, "models *rows"]:
    """Return, for each model, the log-probability of the token under the mean law of all others, nats.

    A model's own score is not a measure of how probable a text is where the model's errors are studied: it contains them.

    >>> leave_one_out(np.log([[0.5], [0.2], [0.4]])).round(4).tolist() == np.log([[0.3], [0.45], [0.35]]).round(4).tolist()
    True
    """
    _check_models(log_probs)
    n = len(log_probs)
    others = [logsumexp(np.delete(log_probs, i, 0), axis=0) - np.log(n - 1) for i in range(n)]
    return np.asarray(others)


def top_disagreement(top: Int[np.ndarray, "models rows"]) -> Float[np.ndarray, " rows"]:
    """Return the share of pairs of models that put another token first.

    >>> top_disagreement(np.array([[1], [1], [2]])).round(4).tolist()
    [0.6667]
    """
    _check_models(top)
    n = len(top)
    agree = (top[:, None] == top[None]).sum((0, 1)) - n
    return np.asarray(1.0 - agree / (n * (n - 1)))


def spread_of_scores(scores: Float[np.ndarray, "models texts"]) -> Float[np.ndarray, " texts"]:
    """Return the standard deviation over models (n − 1) of ln q(x)/T, nats a token."""
    _check_models(scores)
    same = (scores == scores[0]).all(0)
    return np.asarray(np.where(same, 0.0, scores.std(0, ddof=1)))


def _check_models(values: np.ndarray) -> None:
    if len(values) < 2:
        raise DataError(f"disagreement needs at least 2 models, not {len(values)}")
