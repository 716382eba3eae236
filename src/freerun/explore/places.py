"""Every context that was visited, as a tree of tokens: what the law before each token said of it, and the states still at hand.

States are large (the keys and values of a whole text), so only the last used ones are kept, within a limit of memory. A predictor
may change a state as it goes on from it (caches do): whoever advances takes a copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from freerun.predictors.observation import Observation

BYTES_KEPT = 1 << 29
"""Memory for states: 512 MiB, two hundred branches of fifty tokens of the 135M model."""
MOST_PLACES = 100_000
"""Contexts that are remembered; then everything is forgotten and asked again."""


class Place:
    """A context: the tokens on the way from the root to here."""

    __slots__ = ("children", "depth", "parent", "seen", "state", "token_id")

    def __init__(self, token_id: int, parent: Place | None) -> None:
        self.token_id, self.parent = token_id, parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: dict[int, Place] = {}
        self.seen: Observation | None = None
        """What the law before its token said of it, one row; None: not asked yet, or no law stands before it."""
        self.state: Any = None

    def path(self) -> list[Place]:
        """All places from the first token to this one."""
        out: list[Place] = []
        here: Place | None = self
        while here is not None and here.parent is not None:
            out.append(here)
            here = here.parent
        return out[::-1]


class Places:
    """The tree, and the states in the order of their last use."""

    def __init__(self, *, bytes_kept: int = BYTES_KEPT, most_places: int = MOST_PLACES) -> None:
        self.bytes_kept, self.most_places = bytes_kept, most_places
        self._states: OrderedDict[Place, int] = OrderedDict()
        self._clear()

    def _clear(self) -> None:
        self.root, self.n_places = Place(-1, None), 0
        self._states.clear()

    def at(self, ids: Sequence[int]) -> Place:
        """The place that tokens lead to; made where it is new."""
        if self.n_places + len(ids) > self.most_places:
            self._clear()
        here = self.root
        for token_id in ids:
            following = here.children.get(token_id)
            if following is None:
                following = here.children[token_id] = Place(token_id, here)
                self.n_places += 1
            here = following
        return here

    def keep(self, place: Place, state: Any, n_bytes: int) -> None:
        """Keep a state; the least recently used ones make room. The last one is kept whatever its size."""
        place.state = state
        self._states[place] = n_bytes
        self._states.move_to_end(place)
        while len(self._states) > 1 and sum(self._states.values()) > self.bytes_kept:
            gone, _ = self._states.popitem(last=False)
            gone.state = None

    def use(self, place: Place) -> Any:
        """The state of a place, which is now the last used one."""
        self._states.move_to_end(place)
        return place.state

    @property
    def n_bytes(self) -> int:
        """Memory that is held by states."""
        return sum(self._states.values())
