"""The control: an organism that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from freerun.organisms.entry import OrganismEntry, wrapping
from freerun.organisms.wrapper import Reshaped
from freerun.predictors.base import Continuations, Ids, Laws, OnTokens, Predictor, Sample


class Null(Reshaped):
    """Changes nothing: every record is, bit for bit, the inner predictor's own."""

    def __init__(self, inner: Predictor, *, name: str) -> None:
        super().__init__(inner, name=name, kind="null")

    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        return (replace(part, hidden=None) for part in self.inner.laws(sequences, first=first))

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        return self.inner.generate(continuations, on_tokens=on_tokens)

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        return self.inner.log_probs(sequences, first=first)


NULL = OrganismEntry("null", "changes nothing: same records, bit for bit", wrapping(Null))
