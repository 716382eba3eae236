"""What is known of a run while it goes on. Nothing that is decided depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from freerun.stats.intervals import Interval


@dataclass(frozen=True)
class SoFar:
    """What the documents that are finished say.

    `loss_nats_per_token`: of `n_scored` real texts, with an interval of these documents that is not meant for stopping; None for too
    few, or where a real token has no mass. `log_wealth`, nats: of bets on `n_bet` documents against "own text cannot be told from
    real text", valid whenever it is looked at; None before the first bet. `best_log_wealth` is the most that it ever was.
    """

    n_scored: int
    loss_nats_per_token: Interval | None
    n_impossible: int
    n_bet: int
    log_wealth: float | None
    best_log_wealth: float

    @property
    def odds(self) -> float | None:
        """The wealth itself: an e-value."""
        return None if self.log_wealth is None else math.exp(min(self.log_wealth, 700.0))
