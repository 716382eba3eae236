"""Rows dealt to several predictors, each row in one at a time.

A row that moves leaves the predictor that it was in for good, so what follows never reaches it; the next one starts on what the
mover is given to read (usually nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Ids
from freerun.predictors.rowwise import Inside, Part
from freerun.predictors.stepwise import Stepwise

Routes = Sequence[Stepwise[Any] | None]
"""The predictors; None is a lane in which nothing is read."""


@dataclass(frozen=True)
class Lanes(Part):
    """Row i is row `place[i]` of `states[route[i]]`; the state of a lane without rows is None."""

    route: Int[np.ndarray, " rows"]
    place: Int[np.ndarray, " rows"]
    states: tuple[Inside | None, ...]

    @staticmethod
    def deal(routes: Routes, route: Int[np.ndarray, " rows"], texts: Sequence[Ids]) -> Lanes:
        """Start every row in its lane on its own text."""
        lanes = Lanes(np.asarray(route, np.int64), _places(np.asarray(route)), (None,) * len(routes))
        states = []
        for r, predictor in enumerate(routes):
            mine = lanes.members(r)
            some = predictor is not None and len(mine)
            states.append(Inside.start(predictor, [texts[i] for i in mine]) if some else None)  # type: ignore[arg-type]
        return Lanes(lanes.route, lanes.place, tuple(states))

    def members(self, route: int) -> Int[np.ndarray, " members"]:
        """The rows of one lane, in the order of their places."""
        rows = np.flatnonzero(self.route == route)
        return rows[np.argsort(self.place[rows], kind="stable")]

    def advance(
        self,
        routes: Routes,
        ids: Int[np.ndarray, " rows"],
        route: Int[np.ndarray, " rows"],
        first_read: Callable[[int], Ids],
    ) -> Lanes:
        """One more token a row; rows whose lane is another than `route` says move there, and start on `first_read(row)`."""
        place = np.zeros(len(ids), np.int64)
        states = []
        for r, predictor in enumerate(routes):
            were, state = self.members(r), self.states[r]
            stay = were[route[were] == r]
            come = np.flatnonzero((route == r) & (self.route != r))
            place[stay], place[come] = np.arange(len(stay)), len(stay) + np.arange(len(come))
            parts = []
            if state is not None and len(stay):
                kept = state if len(stay) == len(were) else state.select(self.place[stay])
                parts.append(kept.advance(ids[stay]))
            if predictor is not None and len(come):
                parts.append(Inside.start(predictor, [first_read(int(i)) for i in come]))
            states.append(parts[0].join(parts[1:]) if parts else None)
        return Lanes(np.asarray(route, np.int64), place, tuple(states))

    def select(self, rows: Int[np.ndarray, " taken"]) -> Lanes:
        route, place = self.route[rows], self.place[rows]
        states = tuple(
            state.select(place[route == r]) if state is not None and (route == r).any() else None
            for r, state in enumerate(self.states)
        )
        return Lanes(route, _places(route), states)

    def join(self, others: Sequence[Lanes]) -> Lanes:
        parts = (self, *others)
        before = np.zeros(len(self.states), np.int64)
        places = []
        for part in parts:
            places.append(part.place + before[part.route])
            before += np.bincount(part.route, minlength=len(self.states))
        lanes = ([s for s in lane if s is not None] for lane in zip(*(p.states for p in parts), strict=True))
        states = tuple(lane[0].join(lane[1:]) if lane else None for lane in lanes)
        return Lanes(np.concatenate([p.route for p in parts]), np.concatenate(places), states)

    @property
    def nbytes(self) -> int:
        return sum(s.nbytes for s in self.states if s is not None)


def _places(route: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Each row's place among the rows of its lane, in order of rows."""
    place = np.zeros(len(route), np.int64)
    for r in np.unique(route):
        place[route == r] = np.arange(int((route == r).sum()))
    return place
