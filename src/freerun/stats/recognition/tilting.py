"""Tests of a predictable law whose false alarms are bounded at any number of tokens: exponentially tilted supermartingales.

Let X_t have mean 0 and variance V_t given the past. With E[exp(l X_t)] <= 1 + l^2 f_t(l) known before the token,
M = prod_t exp(l X_t) / (1 + l^2 f_t(l)) is a supermartingale that starts at 1, and so is the mean of one that tilts up and one
that tilts down. By Ville's inequality p = 1 / max_t M is a p-value: P(p <= a) <= a. The tilts are chosen from the variances so far,
which are predictable, so that M is near its largest where X departs by as much as a test at `TARGET` must see.

Sources: Freedman 1975, Annals of Probability 3:100; Howard, Ramdas, McAuliffe & Sekhon 2020, Probability Surveys 17:257.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from freerun.errors import DataError

TARGET = 1e-4
"""The p-value that the tilts are chosen for."""
_GUARD = 2e-5
"""Added to f(l) at the powers recorded, nats squared: they are kept as float32."""


def tilts(variance: Float[np.ndarray, " tokens"], n_tokens: int) -> Float[np.ndarray, " tokens"]:
    """sqrt(2 ln(2 / TARGET) / variance), the variance of `n_tokens` tokens guessed at each from those up to it."""
    n = max(n_tokens, variance.size)
    mean = np.cumsum(variance) / np.arange(1, variance.size + 1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(2 * np.log(2 / TARGET) / (n * mean)))


def surprisal_p(
    log_prob_nats: Float[np.ndarray, " tokens"],
    entropy_nats: Float[np.ndarray, " tokens"],
    varentropy_nats2: Float[np.ndarray, " tokens"],
    log_power_sum: Float[np.ndarray, "tokens n_powers"],
    powers: Sequence[float],
    *,
    n_tokens: int,
) -> float:
    """p-value of "surprisal has the mean that the laws say", for X_t = -ln q_t(x_t) - H_t; tokens in their order.

    `log_power_sum[t, j]` is ln sum_v q_t(v)^(1 - powers[j]), which is ln E exp(powers[j] * surprisal). f_t(l) is
    E[X^2 g(l X)] with g(y) = (e^y - 1 - y) / y^2, a moment generating function and so log-convex: between 0, where it is V_t/2,
    and the powers recorded ln f lies below its chords. `n_tokens` are those planned, before any was drawn.

    Raises DataError for NaN.
    """
    columns = (log_prob_nats, entropy_nats, varentropy_nats2, log_power_sum)
    if any(np.isnan(column).any() for column in columns):
        raise DataError(
            "log-prob, entropy, varentropy or log_power_sum holds NaN; the test needs the whole law of every token"
        )
    if np.isneginf(log_prob_nats).any():
        return 0.0
    x = -np.asarray(log_prob_nats, np.float64) - entropy_nats
    variance = np.maximum(np.asarray(varentropy_nats2, np.float64), 0.0)
    tilt = tilts(variance, n_tokens)
    paths = []
    for tilted in (np.minimum(tilt, max(powers)), np.maximum(-tilt, min(powers))):
        log_mean = log_moment_bound(tilted, entropy_nats, variance, log_power_sum, powers)
        paths.append(np.cumsum(tilted * x - log_mean))
    return _by_ville(paths)


def log_moment_bound(
    tilt: Float[np.ndarray, " tokens"],
    entropy_nats: Float[np.ndarray, " tokens"],
    varentropy_nats2: Float[np.ndarray, " tokens"],
    log_power_sum: Float[np.ndarray, "tokens n_powers"],
    powers: Sequence[float],
) -> Float[np.ndarray, " tokens"]:
    """An upper bound on ln E exp(tilt * (surprisal - entropy)); all tilts of one sign, none beyond the powers recorded."""
    sign = -1.0 if (tilt < 0).any() else 1.0
    knots = sorted((p for p in powers if p * sign > 0), key=abs)
    heights = [np.asarray(varentropy_nats2, np.float64) / 2]
    for power in knots:
        mean = np.exp(log_power_sum[:, list(powers).index(power)] - power * entropy_nats)
        heights.append(np.maximum(mean - 1.0, 0.0) / power**2 + _GUARD)
    at = np.array([0.0, *(abs(p) for p in knots)])
    bound = _below_chords(np.abs(tilt), at, np.maximum(np.stack(heights), 1e-12))
    return np.asarray(np.log1p(np.square(tilt) * bound))


def events_p(
    happened: Bool[np.ndarray, " tokens"], probability: Float[np.ndarray, " tokens"], *, n_tokens: int
) -> float:
    """p-value of "this happened as often as the laws say": one event a token, each with a probability known before it.

    Raises DataError for probabilities outside [0, 1].
    """
    m = np.asarray(probability, np.float64)
    if not ((m >= 0) & (m <= 1)).all():
        raise DataError("probabilities of events must lie in [0, 1]")
    tilt = np.minimum(tilts(m * (1 - m), n_tokens), 2.0)
    paths = []
    for size in (tilt, -tilt):
        paths.append(np.cumsum(size * happened - np.log1p(m * np.expm1(size))))
    return _by_ville(paths)


def _below_chords(
    size: Float[np.ndarray, " tokens"], at: Float[np.ndarray, " knots"], heights: Float[np.ndarray, "knots tokens"]
) -> Float[np.ndarray, " tokens"]:
    """The log-linear interpolation of each token's heights at its size."""
    right = np.clip(np.searchsorted(at, size), 1, at.size - 1)
    share = (size - at[right - 1]) / (at[right] - at[right - 1])
    tokens = np.arange(size.size)
    low, high = np.log(heights[right - 1, tokens]), np.log(heights[right, tokens])
    return np.asarray(np.exp(low + share * (high - low)))


def _by_ville(paths: Sequence[Float[np.ndarray, " tokens"]]) -> float:
    """1 / the largest mean of the products on the way."""
    if not paths[0].size:
        return 1.0
    log_mean = np.logaddexp(*paths) - np.log(2)
    return float(np.exp(-max(0.0, float(log_mean.max()))))
