"""Linear interpolation of predictors: weights by expectation maximisation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError


def fit_interpolation(
    log_probs: Float[np.ndarray, "components tokens"], *, n_steps: int = 500, tol: float = 1e-6
) -> Float[np.ndarray, " components"]:
    """Return the weights w that maximise the mean over tokens of ln sum_i w_i p_i (Jelinek & Mercer 1980).

    `log_probs` are nats of the tokens that came; minus infinity is allowed where some other component has mass. Stops
    after `n_steps`, or when the weights are proven to be within `tol` nats per token of the best: the objective is
    concave, so its gap is at most max_i mean_t(p_i/mix) - 1.

    Raises DataError for no tokens, NaN, or a token that no component allows.

    >>> fit_interpolation(np.log(np.array([[0.5, 0.5], [0.1, 0.1]]))).round(3).tolist()
    [1.0, 0.0]
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    if log_probs.ndim != 2 or log_probs.size == 0:
        raise DataError(f"log_probs has shape {log_probs.shape}; it must be components x tokens, not empty")
    top = log_probs.max(axis=0)
    if not np.isfinite(top).all():
        raise DataError("some token has NaN, or probability 0 under every component; no mixture allows it")
    shifted = np.exp(log_probs - top)
    n_components, n_tokens = shifted.shape
    weights = np.full(n_components, 1.0 / n_components)
    for _ in range(n_steps):
        gain = shifted @ (1.0 / (weights @ shifted)) / n_tokens
        if gain.max() - 1.0 <= tol:
            break
        weights = weights * gain
        weights /= weights.sum()
    return weights


def mix_log_probs(
    weights: Float[np.ndarray, " components"], log_probs: Float[np.ndarray, "components tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Return ln sum_i w_i p_i in nats, token by token; minus infinity only where every weighted component is.

    Raises DataError for NaN or weights that are not a distribution.

    >>> mix_log_probs(np.array([0.5, 0.5]), np.log(np.array([[0.5], [0.25]]))).round(6).tolist()
    [-0.980829]
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != log_probs.shape[:1] or (weights < 0).any() or abs(float(weights.sum()) - 1.0) > 1e-6:
        raise DataError(f"weights are {weights.tolist()}; they must be {log_probs.shape[0]} shares that sum to 1")
    if np.isnan(log_probs).any():
        raise DataError("log_probs hold NaN; a mixture needs every component's log-probability")
    used = weights > 0
    return np.asarray(np.logaddexp.reduce(log_probs[used] + np.log(weights[used])[:, None], axis=0))
