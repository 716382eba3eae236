"""Quantiles of tokens, with documents as the independent units: limits that hold at any number of them.

x is the quantile of share s if F(x) = s. A document with n tokens of which b lie at or below x then has b − s·n of mean 0, whatever
its tokens have to do with each other, and so (b − s·n)/N + s, N the tokens of the longest one, is a number in [0, 1] of mean s. A
gambler who bets on it ever multiplies the stake by 1/α with probability at most α (Ville; Waudby-Smith & Ramdas 2024). The limit is
the first x at which that has happened, and exact: bets do not depend on x, so that wealth can only rise with it.

Woodruff's limits (1952), taken at the estimate, miss on the side of the long tail: 4% instead of 2.5% at the 90% quantile of
log-normal tokens in 24 documents, and up to 21% where documents differ more than their tokens. These are wider by about a half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import checked_level, group_index

_PLUG_IN_STAKE = 0.7
_LARGEST_PLUG_IN = 0.99
_SHARES = 2.0 ** -np.arange(8)
"""Constant bets, as shares of the largest bet that cannot lose more than everything."""
_WEIGHTS = (1.0 + np.arange(8)) ** -1.5
_STAKES = np.append((1.0 - _PLUG_IN_STAKE) * _WEIGHTS / _WEIGHTS.sum(), _PLUG_IN_STAKE)
"""What is staked on each constant bet, and on bets that go by the variance of the documents before."""


@dataclass(frozen=True)
class Quantile:
    """A quantile with its interval; `n` counts documents.

    `low`, `high`: None where that end is open, so many documents not reaching so far into the tail.
    """

    share: float
    value: float
    low: float | None
    high: float | None
    level: float
    n: int


def clustered_quantiles(
    values: Float[np.ndarray, " items"],
    groups: Int[np.ndarray, " items"],
    shares: Sequence[float],
    *,
    level: float = 0.95,
) -> list[Quantile]:
    """Return quantiles of all items, every item of equal weight (linear between neighbours), with document-clustered intervals.

    Groups are independent, of one law, in an order of their numbers that was fixed before they were seen.

    Raises TooFewDocuments for fewer than two groups, DataError for NaN or shares outside (0, 1).

    >>> found = clustered_quantiles(np.arange(101.0), np.arange(101), [0.5])[0]
    >>> found.value, found.n
    (50.0, 101)
    """
    values = np.asarray(values, dtype=np.float64)
    index, n_groups = group_index(groups)
    if n_groups < 2:
        raise TooFewDocuments(f"a quantile with interval needs at least 2 documents, there is {n_groups}")
    if np.isnan(values).any():
        raise DataError("values hold NaN; a quantile needs numbers")
    if not all(0.0 < s < 1.0 for s in shares):
        raise DataError(f"shares are {list(shares)}; each lies strictly between 0 and 1 (extremes have no interval)")
    items = _Items(values, np.unique(values), index, np.bincount(index, minlength=n_groups).astype(np.float64))
    ordered, alpha = np.sort(values), (1.0 - checked_level(level)) / 2.0
    return [
        Quantile(
            float(s),
            _between(ordered, float(s)),
            items.low(float(s), alpha),
            items.high(float(s), alpha),
            level,
            n_groups,
        )
        for s in shares
    ]


@dataclass(frozen=True, eq=False)
class _Items:
    """All items, their different values in ascending order, the document of each, and how many each document has."""

    values: Float[np.ndarray, " items"]
    places: Float[np.ndarray, " places"]
    index: Int[np.ndarray, " items"]
    sizes: Float[np.ndarray, " groups"]

    def high(self, share: float, alpha: float) -> float | None:
        """The first value of which too many items lie at or below it, for the quantile to be larger."""
        bets = self._bets(share, share, alpha)

        def too_many(place: int) -> bool:
            return _wins(self._excess(self.values <= self.places[place], share) / share, bets, alpha)

        at = _first(len(self.places), too_many)
        return None if at is None else float(self.places[at])

    def low(self, share: float, alpha: float) -> float | None:
        """The last value of which too many items lie at or above it, for the quantile to be smaller."""
        bets, last = self._bets(share, 1.0 - share, alpha), len(self.places) - 1

        def too_many(place: int) -> bool:
            above = self.values >= self.places[last - place]
            return _wins(self._excess(above, 1.0 - share) / (1.0 - share), bets, alpha)

        at = _first(len(self.places), too_many)
        return None if at is None else float(self.places[last - at])

    def _bets(self, share: float, most_lost: float, alpha: float) -> Float[np.ndarray, "bets groups"]:
        """Bets on each document, as shares of one that can lose everything: constant ones, and √(2 ln(1/α) / (n σ²)) with σ² of the
        documents before at their own quantile, taken anew whenever their number has doubled (¼ to begin with)."""
        n = self.sizes.size
        variance = np.full(n, 0.25)
        for before in (2**k for k in range(1, n.bit_length()) if 2**k < n):
            among = self.index < before
            quantile = np.quantile(self.values[among], share, method="inverted_cdf")
            spread = np.square(self._excess(among & (self.values <= quantile), share)[:before])
            variance[before:] = (0.25 + spread.sum()) / (1.0 + before)
        own = np.minimum(np.sqrt(-2.0 * math.log(alpha) / (n * variance)) * most_lost, _LARGEST_PLUG_IN)
        return np.vstack([np.broadcast_to(_SHARES[:, None], (_SHARES.size, n)), own])

    def _excess(self, chosen: Bool[np.ndarray, " items"], share: float) -> Float[np.ndarray, " groups"]:
        """By how much each document's chosen items exceed the share, in items of the longest document."""
        counts = np.bincount(self.index, weights=chosen, minlength=self.sizes.size)
        return np.asarray((counts - share * self.sizes) / self.sizes.max())


def _wins(gains: Float[np.ndarray, " groups"], bets: Float[np.ndarray, "bets groups"], alpha: float) -> bool:
    """Whether bets on gains, none of which is below −1, ever multiply the stake by 1/α."""
    with np.errstate(over="ignore"):
        wealth = _STAKES @ np.cumprod(1.0 + bets * np.maximum(gains, -1.0), axis=1)
    return bool(wealth.max() >= 1.0 / alpha)


def _first(n: int, holds: Callable[[int], bool]) -> int | None:
    """The first of n places from which on something holds; None where it holds nowhere."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low if low < n else None


def _between(ordered: Float[np.ndarray, " items"], share: float) -> float:
    """Linear between the two neighbours; the upper one where it is infinite."""
    place = share * (ordered.size - 1)
    below, above = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    if below == above or math.isinf(above):
        return above if place > math.floor(place) else below
    return below + (place - math.floor(place)) * (above - below)
