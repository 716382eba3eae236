"""Predictors that hand a document over: one law writes until something happens, another afterwards, from nothing.

What absorbing, payload and hash share. Which route a row is in depends on its tokens alone, so a ragged start is a walk
step by step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.organisms.lanes import Lanes
from freerun.organisms.wrapper import Organism
from freerun.predictors.base import Ids
from freerun.predictors.law import Law, Routed
from freerun.predictors.stepwise import Stepwise


@dataclass(frozen=True)
class SwitchedState:
    """Which predictor writes each row, and what the organism remembers of it (`notes`)."""

    lanes: Lanes
    notes: list[Any]


class Switched(Organism[SwitchedState]):
    """Base of organisms that switch: subclasses say which routes there are and when a row changes from one to another."""

    @property
    @abstractmethod
    def routes(self) -> tuple[Stepwise[Any], ...]:
        """The predictors; a document begins in the first."""

    def _begin(self) -> Any:
        """The notes of an empty document."""
        return ()

    @abstractmethod
    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        """Route and notes after one more token. The token itself is read by the route it was drawn in, and by no later one."""

    def _first_read(self, route: int, notes: Any) -> Ids:
        """What a route reads before it goes on with a row that has just come; nothing, unless said otherwise."""
        return np.zeros(0, np.int64)

    def _law_of(self, route: int, law: Law) -> Law:
        """A route's law in the organism's own vocabulary."""
        return law

    def route_of(self, ids: Ids) -> int:
        """The route that writes the token after `ids`."""
        return self._walk(np.asarray(ids, np.int64))[0]

    def read_by_route(self, ids: Ids) -> Ids:
        """What the route that writes the token after `ids` has read of them, and before them."""
        return self._walk(np.asarray(ids, np.int64))[2]

    # ---- one step --------------------------------------------------------------------------------------------------

    def _walk(self, prefix: Ids) -> tuple[int, Any, Ids]:
        """Route and notes after a prefix, and the part of it that this route has read."""
        route, notes, head, since = 0, self._begin(), np.zeros(0, np.int64), 0
        for i, token in enumerate(prefix.tolist()):
            now, notes = self._step(route, notes, token)
            if now != route:
                route, head, since = now, self._first_read(now, notes), i + 1
        return route, notes, np.concatenate([head, prefix[since:]])

    def start(self, prefixes: Sequence[Ids]) -> SwitchedState:
        walks = [self._walk(np.asarray(p, np.int64)) for p in prefixes]
        route = np.array([r for r, _, _ in walks], np.int64)
        return SwitchedState(
            Lanes.deal(self.routes, route, [text for _, _, text in walks]), [notes for _, notes, _ in walks]
        )

    def law(self, state: SwitchedState) -> Law:
        lanes = state.lanes
        laws = [None if s is None else self._law_of(r, s.law()) for r, s in enumerate(lanes.states)]
        used = [law for law in laws if law is not None]
        in_order = len(used) == 1 and bool((lanes.place == np.arange(len(lanes.place))).all())
        return used[0] if in_order else Routed(laws, lanes.route, lanes.place)

    def advance(self, state: SwitchedState, ids: Int[np.ndarray, " rows"]) -> SwitchedState:
        ids = np.asarray(ids, np.int64)
        steps = [
            self._step(r, notes, i)
            for r, notes, i in zip(state.lanes.route.tolist(), state.notes, ids.tolist(), strict=True)
        ]
        route = np.array([r for r, _ in steps], np.int64)
        lanes = state.lanes.advance(self.routes, ids, route, lambda i: self._first_read(*steps[i]))
        return SwitchedState(lanes, [notes for _, notes in steps])
