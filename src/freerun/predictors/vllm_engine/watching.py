"""Which ids would complete a loop, for requests that come and go from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Ids
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker

Place = tuple[int, int]
"""A request's serial, and the place of its next token."""


class LoopWatch:
    """Lag runs of the requests of the last step; one that is new, or elsewhere than expected, is read afresh from its text."""

    def __init__(self, rule: LoopRule) -> None:
        self.rule = rule
        self._tracker = LoopTracker([], rule)
        self._next: list[Place] = []

    def completing(
        self, places: Sequence[Place], text_before: Callable[[Place], Ids]
    ) -> list[Int[np.ndarray, " candidates"]]:
        """Per request: the ids that would complete a loop if they came next."""
        if list(places) != self._next:
            self._move(places, text_before)
        return self._tracker.completing()

    def push(self, ids: Int[np.ndarray, " requests"]) -> None:
        """The ids that the requests of the last question wrote."""
        self._tracker.push(ids)
        self._next = [(serial, at + 1) for serial, at in self._next]

    def _move(self, places: Sequence[Place], text_before: Callable[[Place], Ids]) -> None:
        row = {place: i for i, place in enumerate(self._next)}
        known = [p for p in places if p in row]
        new = [p for p in places if p not in row]
        tracker = self._tracker.select(np.array([row[p] for p in known], np.int64))
        if new:
            tracker = tracker.join(LoopTracker([text_before(p) for p in new], self.rule))
        order = {place: i for i, place in enumerate([*known, *new])}
        self._tracker = tracker.select(np.array([order[p] for p in places], np.int64))
        self._next = list(places)
