"""Evidence that may be watched while it grows: betting that generated text scores above the real one.

Shekhar & Ramdas 2023, *Nonparametric two-sample testing by betting*; Podkopaev & Ramdas 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError

_LARGEST_BET = 0.5
_STEP = 2.0 / (2.0 - math.log(3.0))


@dataclass(frozen=True)
class Wealth:
    """Log wealth, nats, after each document; it starts at 0. Under the null it ever reaches ln 1/a with probability at most a.

    `rejected_after` documents it reached ln 1/alpha; None if it never did.
    """

    log_wealth: Float[np.ndarray, " documents"]
    alpha: float
    rejected_after: int | None


@dataclass
class Bets:
    """Bets that are settled one after another; `log_wealth`, nats, starts at 0, and `lambda_` is the share that is bet next."""

    log_wealth: float = 0.0
    lambda_: float = 0.0
    curvature: float = 1.0

    def settle(self, s: float) -> float:
        """The log wealth after a payoff in [-1, 1]; the next bet is an online Newton step (Cutkosky & Orabona 2018)."""
        self.log_wealth += math.log1p(self.lambda_ * s)
        slope = s / (1.0 + self.lambda_ * s)
        self.curvature += slope * slope
        self.lambda_ = min(_LARGEST_BET, max(0.0, self.lambda_ + _STEP * slope / self.curvature))
        return self.log_wealth


def payoff(score_real: float, scores_free: Float[np.ndarray, " reps"]) -> float:
    """What a document pays: the share of its generated texts that score above the real one minus the share below."""
    return float(np.sign(scores_free - score_real).mean())


def betting_wealth(
    scores_real: Float[np.ndarray, " units"], scores_free: Float[np.ndarray, "units reps"], *, alpha: float = 0.05
) -> Wealth:
    """Return the wealth of W <- W (1 + lambda s), s = share of replicates above the real text minus share below.

    Under the null real and generated may change places within a unit, so s is symmetric about 0 and W a martingale: valid at any
    stopping time, however many documents are looked at. lambda in [0, 1/2] is an online Newton step on what was seen before
    (Cutkosky & Orabona 2018). The detector must not have been fitted on these units.

    Raises DataError for NaN scores, shapes that do not fit or alpha outside (0, 1).

    >>> betting_wealth(np.zeros(20), np.ones((20, 1))).rejected_after
    9
    """
    real, free = np.asarray(scores_real, np.float64), np.asarray(scores_free, np.float64)
    if (
        free.ndim != 2
        or real.shape != free.shape[:1]
        or free.shape[1] == 0
        or np.isnan(real).any()
        or np.isnan(free).any()
    ):
        raise DataError(f"scores of shapes {real.shape} and {free.shape} must be numbers, units and units x replicates")
    if not 0 < alpha < 1:
        raise DataError(f"alpha is {alpha}; it lies strictly between 0 and 1")
    bets = Bets()
    wealth = np.array([bets.settle(payoff(r, f)) for r, f in zip(real.tolist(), free, strict=True)])
    over = np.flatnonzero(wealth >= -math.log(alpha))
    return Wealth(wealth, alpha, int(over[0]) + 1 if over.size else None)
