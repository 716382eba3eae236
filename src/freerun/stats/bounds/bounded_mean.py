"""Limits of a mean of numbers in [0, 1] that hold at any number of units: no normal approximation, no assumption on the shape.

A gambler bets that the mean is below m: wealth times 1 + λ(m − x) after each unit. If the mean is m or more, wealth is a
supermartingale and ever reaches 1/α with probability at most α (Ville), so every m at which it does is refuted (Waudby-Smith &
Ramdas 2024, *Estimating means of bounded random variables by betting*). Part of the stake follows their plug-in bets; part is
spread over constant ones, as in universal portfolios (Orabona & Jun 2024), of which the largest serves units nearly all 0.

Where every unit is 0, no valid limit lies below 1 − α^(1/n): so many zeros have a probability above α under any mean below it.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError, TooFewDocuments

MIN_UNITS = 2

_PLUG_IN_STAKE = 0.7
_LARGEST_PLUG_IN = 0.99
_SHARES = 2.0 ** -np.arange(8)
"""Constant bets, as shares of the largest bet that cannot lose more than everything."""
_WEIGHTS = (1.0 + np.arange(8)) ** -1.5
_STAKES = np.append((1.0 - _PLUG_IN_STAKE) * _WEIGHTS / _WEIGHTS.sum(), _PLUG_IN_STAKE)
"""What is staked on each constant bet, and on the plug-in bets."""
_STEPS = 32
"""Halvings of an interval inside [0, 1]: the limit is at most 2e-10 too wide."""


def mean_high(values: Float[np.ndarray, "units columns"], *, alpha: float) -> Float[np.ndarray, " columns"]:
    """Return, column by column, a limit that the mean exceeds with probability at most alpha.

    Rows are independent units of one law, in an order that was fixed before they were seen: another order gives another limit, as
    valid.

    Raises TooFewDocuments for fewer than two units, DataError for values outside [0, 1] or alpha outside (0, 1).

    >>> float(mean_high(np.zeros((64, 1)), alpha=0.025)[0].round(4)), round(1 - 0.025 ** (1 / 64), 4)
    (0.059, 0.056)
    """
    x = _checked(values, alpha)
    plug_in = _plug_in_bets(x, alpha)
    low, high = x.mean(axis=0), np.ones(x.shape[1])
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        refuted = _most_wealth(x, middle, plug_in) >= 1.0 / alpha
        high, low = np.where(refuted, middle, high), np.where(refuted, low, middle)
    return np.asarray(high)


def mean_low(values: Float[np.ndarray, "units columns"], *, alpha: float) -> Float[np.ndarray, " columns"]:
    """Return, column by column, a limit that the mean lies below with probability at most alpha; see `mean_high`."""
    return np.asarray(1.0 - mean_high(1.0 - np.asarray(values, np.float64), alpha=alpha))


def mean_band(
    values: Float[np.ndarray, "units columns"], *, alpha: float
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Return lower and upper limits of each column's mean, each missed with probability at most alpha; see `mean_high`."""
    x = np.asarray(values, np.float64)
    limits = mean_high(np.hstack([1.0 - x, x]), alpha=alpha)
    return 1.0 - limits[: x.shape[1]], limits[x.shape[1] :]


def pair_band(
    values: Float[np.ndarray, "pairings pairs columns"], *, alpha: float
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Return lower and upper limits of the mean over pairs of units, each missed with probability at most alpha.

    In each pairing no unit stands in two pairs, so that its pairs are independent, and a gambler bets on them. The mean wealth of
    gamblers whose wealth has a mean of at most 1 has one, too, and reaches 1/α at the end with probability at most α (Markov),
    however much their pairs have in common. Pairings are fixed before the units are seen.

    Raises as `mean_high` does.
    """
    x = np.asarray(values, np.float64)
    limits = _pairs_high(np.concatenate([1.0 - x, x], axis=2), alpha)
    return 1.0 - limits[: x.shape[2]], limits[x.shape[2] :]


def _pairs_high(x: Float[np.ndarray, "pairings pairs columns"], alpha: float) -> Float[np.ndarray, " columns"]:
    n_pairings, n_pairs, n_columns = x.shape
    every = _checked(x.transpose(1, 0, 2).reshape(n_pairs, n_pairings * n_columns), alpha)
    plug_in = _plug_in_bets(every, alpha)
    low, high = x.mean(axis=(0, 1)), np.ones(n_columns)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        ends = _wealth(every, np.tile(middle, n_pairings), plug_in)[-1].reshape(n_pairings, n_columns)
        refuted = np.nan_to_num(ends, nan=0.0, posinf=np.inf).mean(axis=0) >= 1.0 / alpha
        high, low = np.where(refuted, middle, high), np.where(refuted, low, middle)
    return np.asarray(high)


def least_units(limit: float, *, alpha: float) -> int:
    """Return how many units an upper limit this low needs at the least, were they all 0: ln α / ln(1 − limit).

    Raises DataError for a limit outside (0, 1).

    >>> least_units(0.1, alpha=0.025 / 9)
    56
    """
    if not 0.0 < limit < 1.0:
        raise DataError(f"limit is {limit}; an upper limit that can be reached lies strictly between 0 and 1")
    return math.ceil(math.log(alpha) / math.log1p(-limit) - 1e-9)


def units_for(values: Float[np.ndarray, " units"], limit: float, *, alpha: float) -> int | None:
    """Return about how many units like these bring the upper limit down to `limit`; None where their mean is not below it.

    The number at which the best constant bet reaches 1/α, with what `mean_high` pays for not knowing it. A forecast, no promise.

    Raises as `mean_high` and `least_units` do.
    """
    x = _checked(values[:, None], alpha)[:, 0]
    least = least_units(limit, alpha=alpha)
    if float(x.mean()) >= limit:
        return None
    shares = np.geomspace(1e-4, 1.0, 200)[:, None]
    with np.errstate(divide="ignore"):
        rate = float(np.log1p(shares * (limit - x) / (1.0 - limit)).mean(axis=1).max())
    return max(least, math.ceil((-math.log(alpha) - math.log(1.0 - _PLUG_IN_STAKE)) / rate)) if rate > 0.0 else None


def _plug_in_bets(x: Float[np.ndarray, "units columns"], alpha: float) -> Float[np.ndarray, "units columns"]:
    """√(2 ln(1/α) / (n σ²)), σ² as estimated from the units before, and ¼ to begin with (Waudby-Smith & Ramdas 2024, eq. 26)."""
    after = np.arange(2, len(x) + 2)[:, None]
    means = (0.5 + np.cumsum(x, axis=0)) / after
    variances = (0.25 + np.cumsum(np.square(x - means), axis=0)) / after
    before = np.vstack([np.full((1, x.shape[1]), 0.25), variances[:-1]])
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) / (len(x) * before)))


def _most_wealth(
    x: Float[np.ndarray, "units columns"], m: Float[np.ndarray, " columns"], plug_in: Float[np.ndarray, "units columns"]
) -> Float[np.ndarray, " columns"]:
    """Largest wealth along the units, of bets that the mean is below m. It rises with m, as each factor does."""
    # wealth beyond all numbers is enough; what follows it (0 times infinity) does not count
    return np.asarray(np.fmax.reduce(_wealth(x, m, plug_in), axis=0))


def _wealth(
    x: Float[np.ndarray, "units columns"], m: Float[np.ndarray, " columns"], plug_in: Float[np.ndarray, "units columns"]
) -> Float[np.ndarray, "units columns"]:
    """Wealth after each unit."""
    largest = 1.0 / np.maximum(1.0 - m, 1e-15)
    gains = np.maximum((m - x) * largest, -1.0)
    own = np.minimum(plug_in / largest, _LARGEST_PLUG_IN)
    factors = 1.0 + np.concatenate([_SHARES[:, None, None] * gains, (own * gains)[None]])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.tensordot(_STAKES, np.cumprod(factors, axis=1), axes=1))


def _checked(values: Float[np.ndarray, "units columns"], alpha: float) -> Float[np.ndarray, "units columns"]:
    x = np.asarray(values, dtype=np.float64)
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha is {alpha}; it lies strictly between 0 and 1")
    if x.ndim != 2 or not ((x >= 0.0) & (x <= 1.0)).all():
        raise DataError(f"values of shape {x.shape} must be one row a unit, all between 0 and 1")
    if len(x) < MIN_UNITS:
        raise TooFewDocuments(f"a limit over documents needs at least {MIN_UNITS} documents, there are {len(x)}")
    return x
