"""Texts that end too soon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from freerun.organisms.constant import Points
from freerun.organisms.entry import OrganismEntry, wrapping
from freerun.organisms.wrapper import Reshaped
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.entries import check_fraction, fraction
from freerun.predictors.law import Law
from freerun.predictors.rowwise import Inside


class Ending(Reshaped):
    """Mass `hazard` moved onto the first end id at every token; where there is none, onto one id more, which ends a text."""

    def __init__(self, inner: Predictor, *, hazard: float, name: str) -> None:
        check_fraction(hazard=hazard)
        super().__init__(inner, name=name, kind=f"end(hazard={hazard!r})")
        self.hazard = hazard
        self._own_id = not inner.end_ids
        if self._own_id:
            self.n_tokens = inner.n_tokens + 1
            self.end_ids = (inner.n_tokens,)

    def start(self, prefixes: Sequence[Ids]) -> Inside:
        return super().start([self._readable(np.asarray(p, np.int64)) for p in prefixes])

    def advance(self, state: Inside, ids: Int[np.ndarray, " rows"]) -> Inside:
        return super().advance(state, self._readable(np.asarray(ids, np.int64)))

    def _readable(self, ids: Ids) -> Ids:
        """Nothing comes after the organism's own end; a row that is pushed beyond it goes on as if id 0 had been read."""
        return np.where(ids < self.inner.n_tokens, ids, 0)

    def _reshape(self, law: Law) -> Law:
        if self._own_id:
            return law.with_atom(self.hazard)
        return law.mixed(self.hazard, Points(np.full(law.n_rows, self.end_ids[0]), law.n_tokens))


END = OrganismEntry(
    "end", "moves mass onto an end of text at every token", wrapping(Ending), (fraction("hazard", 0.01, "mass moved"),)
)
