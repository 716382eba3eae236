"""The floor: a law against itself, computed again another way (another batch width, other threads) at one number format.

The two computations differ by rounding alone. What two laws differ by that lies under this floor cannot be told from recomputation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.stats.intervals import Interval
from freerun.stats.two_laws.certificate import TvBand, tv_band
from freerun.stats.two_laws.k import KEstimate, k_by_length
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.token_means import TokenMeans, token_means


@dataclass(frozen=True, eq=False)
class Floor:
    """What a second computation of the same law differs by, under the names of what two laws differ by.

    `gap_sd_nats`: standard deviation of ln p(x) between the two computations, over tokens.
    """

    tokens: TokenMeans
    k: tuple[KEstimate, ...]
    tv: TvBand
    gap_sd_nats: float


def floor(again: TwoLaws, lengths: Int[np.ndarray, " lengths"], *, level: float = 0.95) -> Floor:
    """Return the floor from a law's own texts; p is the law as recorded when they were drawn, q the same law computed again.

    Raises as `k_by_length` does.
    """
    gaps = again.gap[again.inside]
    return Floor(
        token_means(again, level=level),
        k_by_length(again, lengths, level=level),
        tv_band(again, lengths, level=level),
        float(np.std(gaps)),
    )


def is_above(estimate: Interval, floor_estimate: Interval) -> bool:
    """Whether a difference is larger than recomputation explains: its lower limit lies above the floor's upper one.

    For shares that agree (`same_top`) give the shares that do not.
    """
    return estimate.low > floor_estimate.high
