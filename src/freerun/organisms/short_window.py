"""Predictors that look at the last tokens of each row; one that sees nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.entry import OrganismEntry, wrapping
from freerun.organisms.wrapper import Organism
from freerun.predictors.base import Ids, Predictor, last_ids
from freerun.predictors.entries import whole
from freerun.predictors.law import Law
from freerun.predictors.rowwise import Inside


@dataclass(frozen=True)
class Tailed:
    """The inner state beside the last ids of every row (−1 where there are fewer)."""

    inner: Inside
    tail: Int[np.ndarray, "rows width"]


class TailReader(Organism[Tailed]):
    """Base of organisms that look at each row's last `width` ids."""

    width: int

    def start(self, prefixes: Sequence[Ids]) -> Tailed:
        tail = np.array([last_ids(p, self.width) for p in prefixes], np.int64).reshape(-1, self.width)
        return Tailed(Inside.start(self.inner, prefixes), tail)

    def _pushed(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows width"]:
        return np.concatenate([state.tail, np.asarray(ids, np.int64)[:, None]], axis=1)[:, 1:]

    def advance(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Tailed:
        return Tailed(state.inner.advance(ids), self._pushed(state, ids))


class ShortWindow(TailReader):
    """The inner predictor sees the last `window` tokens of the document and nothing else; it reads them afresh at every token."""

    def __init__(self, inner: Predictor, *, window: int, name: str) -> None:
        if window < 1:
            raise UsageError(f"window must be at least 1 token, not {window}")
        super().__init__(inner, name=name, kind=f"short_window({window})")
        self.width = window

    def start(self, prefixes: Sequence[Ids]) -> Tailed:
        return super().start([np.asarray(p, np.int64)[-self.width :] for p in prefixes])

    def law(self, state: Tailed) -> Law:
        return state.inner.law()

    def advance(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Tailed:
        tail = self._pushed(state, ids)
        if (state.tail[:, 0] < 0).all():  # nothing falls out yet
            return Tailed(state.inner.advance(ids), tail)
        return Tailed(Inside.start(self.inner, [row[row >= 0] for row in tail]), tail)


SHORT_WINDOW = OrganismEntry(
    "short_window", "sees the last tokens only", wrapping(ShortWindow), (whole("window", 16, "tokens seen", low=1),)
)
