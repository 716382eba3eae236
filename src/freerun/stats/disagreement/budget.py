"""Where disagreement sits: in how improbable a part of real text, against the budget that loss leaves there.

An excess loss K over real text allows a mean divergence of K/m in a region that holds a share m of the text, and no more. The
share of the whole that does sit in the region is measured here, with documents as the units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError
from freerun.stats.intervals import Interval, bootstrap_groups, percentile_tail

Tokens = Float[np.ndarray, "texts tokens"]
_RESAMPLES = 999


@dataclass(frozen=True)
class Concentration:
    """`mean[k]`: mean value in the share `masses[k]` of tokens whose contexts are least probable. `exponent`: b of mean ∝ m^−b.

    b = 1: all of it sits in the rare region, which spends the budget whole; b = 0: it is the same everywhere.
    """

    masses: tuple[float, ...]
    mean: tuple[Interval, ...]
    exponent: Interval


def context_scores(log_probs: Tokens, window: int) -> Tokens:
    """Return the mean log-probability of the last `window` tokens before each token; NaN where fewer stand there.

    >>> context_scores(np.array([[-1.0, -3.0, -5.0]]), 2).tolist()
    [[nan, nan, -2.0]]
    """
    n, length = log_probs.shape
    out = np.full((n, length), np.nan)
    if length > window:
        out[:, window:] = np.lib.stride_tricks.sliding_window_view(log_probs, window, axis=1)[
            :, : length - window
        ].mean(-1)
    return out


def concentration(
    context: Tokens,
    values: Tokens,
    groups: Int[np.ndarray, " texts"],
    *,
    masses: Sequence[float],
    rng: np.random.Generator,
    level: float = 0.95,
) -> Concentration:
    """Measure how a mean grows as real contexts become less probable; intervals by a bootstrap of documents, thresholds refitted.

    Raises:
        DataError: fewer than two masses, or no context.
    """
    known = ~np.isnan(context)
    if len(masses) < 2 or not known.any():
        raise DataError("a region needs contexts, and at least two masses")
    order = np.argsort(context[known], kind="stable")
    y, text = values[known][order], np.nonzero(known)[0][order]

    def read(weights: np.ndarray) -> np.ndarray:
        w = weights[text].astype(float)
        reached, spent = np.cumsum(w), np.cumsum(w * y)
        at = [min(int(np.searchsorted(reached, m * reached[-1])), y.size - 1) for m in masses]
        means = np.array([spent[i] / max(reached[i], 1e-300) for i in at])
        slope = -np.polyfit(np.log(masses), np.log(np.maximum(means, 1e-300)), 1)[0]
        return np.append(means, slope)

    seen = read(np.ones(len(values)))
    draws = np.array([read(w) for w in bootstrap_groups(groups, n_resamples=_RESAMPLES, rng=rng)])
    n = len(np.unique(groups))
    tail = percentile_tail(n, level)
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    found = [Interval(float(v), float(a), float(b), level, n) for v, a, b in zip(seen, low, high, strict=True)]
    return Concentration(tuple(masses), tuple(found[:-1]), found[-1])
