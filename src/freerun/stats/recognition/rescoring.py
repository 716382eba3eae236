"""Do two computations of one law agree? Differences of the log-probabilities that they give the same tokens.

Exact arithmetic (float32 and better) is judged by its largest difference. Rounded arithmetic (bf16) has no such bound: how far two
right computations of one law differ depends on the model and the machine, so quantiles are compared with that floor, measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError

LARGEST_NATS = 1e-3
"""Most that one token may differ by in exact arithmetic: 30 times what float32 was seen to do, a third of one per cent of a nat."""
FLOOR_QUANTILE = 0.9
"""The quantile of the floor's differences that the bounds of rounded arithmetic are multiples of."""
MULTIPLES = ((0.5, 1.5), (0.9, 4.0), (0.99, 8.0))
"""Quantiles, and how many floors each may be: about three times what right samplers in bf16 were seen to need."""
LEAST_FLOOR_NATS = 0.01
"""Half a unit in the last place of a logit between 2 and 4 in bf16: no floor is taken to be lower."""
MOST_FLOOR_NATS = 0.5
"""No floor is taken to be higher: two computations that differ by so much at one token in ten are not of one law."""
MIN_FLOOR_TOKENS = 16
"""With fewer the floor is not known."""


@dataclass(frozen=True)
class Gap:
    """Absolute differences of n tokens, nats. A token that one law alone gives no mass differs by infinity (`n_one_sided` such)."""

    n: int
    n_one_sided: int
    median: float
    q90: float
    q99: float
    largest: float

    def quantile(self, share: float) -> float:
        """One of the three quantiles."""
        return {0.5: self.median, 0.9: self.q90, 0.99: self.q99}[share]


@dataclass(frozen=True)
class Bound:
    """One number that is held against its limit, nats. `name`: `largest`, or the quantile as a share."""

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the number is within its limit."""
        return self.value <= self.limit


def log_prob_gap(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """|first − second| of log-probabilities, nats: 0 where neither law gives mass, infinite where one alone does.

    Raises:
        DataError: a NaN, which is not a log-probability.

    >>> log_prob_gap(np.array([-1.0, -np.inf, -np.inf]), np.array([-1.5, -np.inf, -2.0])).tolist()
    [0.5, 0.0, inf]
    """
    if np.isnan(first).any() or np.isnan(second).any():
        raise DataError("a log-probability is NaN; only numbers and −inf can be compared")
    both = np.isfinite(first) & np.isfinite(second)
    out = np.where(np.isfinite(first) == np.isfinite(second), 0.0, np.inf)
    out[both] = np.abs(first[both] - second[both])
    return np.asarray(out)


def summarise(gap: Float[np.ndarray, " n"]) -> Gap:
    """The quantiles of some differences; each is one of them, the next larger where a quantile falls between two.

    Raises:
        DataError: no differences.
    """
    if not gap.size:
        raise DataError("no token was scored a second time; at least 1 is needed")
    median, q90, q99 = (float(np.quantile(gap, share, method="higher")) for share in (0.5, 0.9, 0.99))
    return Gap(gap.size, int(np.isinf(gap).sum()), median, q90, q99, float(gap.max()))


def exact_bounds(gap: Gap) -> tuple[Bound, ...]:
    """What exact arithmetic must hold to: no token may differ by more than `LARGEST_NATS`."""
    return (Bound("largest", gap.largest, LARGEST_NATS),)


def rounded_bounds(gap: Gap, floor: Float[np.ndarray, " tokens"]) -> tuple[Bound, ...]:
    """What rounded arithmetic must hold to: quantiles within multiples of the floor's own 90%.

    Raises:
        DataError: fewer than `MIN_FLOOR_TOKENS` differences in the floor.
    """
    unit = floor_of(floor)
    return tuple(Bound(f"{share:g}", gap.quantile(share), times * unit) for share, times in MULTIPLES)


def floor_of(floor: Float[np.ndarray, " tokens"]) -> float:
    """The unit of the bounds, nats: the 90% quantile of the floor's differences, held between `LEAST_` and `MOST_FLOOR_NATS`.

    Raises:
        DataError: fewer than `MIN_FLOOR_TOKENS` differences.
    """
    if floor.size < MIN_FLOOR_TOKENS:
        raise DataError(f"{floor.size} tokens are too few for a floor; at least {MIN_FLOOR_TOKENS} are needed")
    return float(np.clip(np.quantile(floor, FLOOR_QUANTILE, method="higher"), LEAST_FLOOR_NATS, MOST_FLOOR_NATS))
