"""Mass onto repetition."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.constant import Points
from freerun.organisms.entry import OrganismEntry, wrapping
from freerun.organisms.short_window import Tailed, TailReader
from freerun.predictors.base import Predictor
from freerun.predictors.entries import check_fraction, fraction, whole
from freerun.predictors.law import Law


class LoopBoost(TailReader):
    """Mass `weight` moved onto the token that goes on with the text's current repetition.

    The repetition is the period p ≤ `max_period` with the longest run of x_s = x_{s−p} up to now, the shortest of equals; the
    token is x_{t−p}. Where the run is shorter than `min_run` the law is the inner one.
    """

    def __init__(self, inner: Predictor, *, weight: float, min_run: int, max_period: int, name: str) -> None:
        check_fraction(weight=weight)
        if min_run < 1 or max_period < 1:
            raise UsageError(f"min_run and max_period must be at least 1, not {min_run} and {max_period}")
        super().__init__(inner, name=name, kind=f"loop(weight={weight!r},{min_run},{max_period})")
        self.weight, self.min_run, self.max_period = weight, min_run, max_period
        self.width = 2 * max_period
        """Runs are counted up to `max_period` tokens."""

    def law(self, state: Tailed) -> Law:
        run, next_id = self.repetition(state.tail)
        weight = np.where(run >= self.min_run, self.weight, 0.0)
        return state.inner.law().mixed(weight, Points(np.maximum(next_id, 0), self.n_tokens))

    def repetition(
        self, tail: Int[np.ndarray, "rows width"]
    ) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """The longest run of each row and the token that would go on with it."""
        run = np.zeros(len(tail), np.int64)
        next_id = np.full(len(tail), -1, np.int64)
        for period in range(1, self.max_period + 1):
            recent = tail[:, self.width - self.max_period :]
            earlier = tail[:, self.width - self.max_period - period : self.width - period]
            same = (recent == earlier) & (recent >= 0)
            here = np.where(same.all(1), self.max_period, np.argmin(same[:, ::-1], axis=1))
            better = here > run
            run = np.where(better, here, run)
            next_id = np.where(better, tail[:, self.width - period], next_id)
        return run, next_id


LOOP = OrganismEntry(
    "loop",
    "moves mass onto the token that goes on with the text's current repetition",
    wrapping(LoopBoost),
    (
        fraction("weight", 0.1, "mass moved"),
        whole("min_run", 2, "repeated tokens before it does", low=1),
        whole("max_period", 64, "longest phrase looked for", low=1, high=1024),
    ),
)
