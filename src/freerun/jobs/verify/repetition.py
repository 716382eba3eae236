"""Loops of the samples, found as they pass by on their way to the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int

from freerun.jobs.loops.judging import judge_loops
from freerun.jobs.loops.reading import Gathering, Sides, ended, without_undrawn
from freerun.jobs.loops.spelling import ByTokenizer
from freerun.jobs.verify.scoring import spread
from freerun.jobs.verify.texts import Text
from freerun.predictors.base import Predictor
from freerun.results.finding import Finding
from freerun.specs.tokenizers import PredictorTokens

MOST_TOKENS = 8_000_000
"""Loops are looked for in at most so many, those of whole completions spread evenly over the file: their ids are held."""


@dataclass
class PassingTexts:
    """What is kept of completions that pass by: their ids, and what they depend on."""

    predictor: Predictor
    lengths: Sequence[int]
    """Tokens of every completion of the file."""
    n_undrawn: int = 0
    _gathering: Gathering = field(default_factory=Gathering)

    def watch(self, texts: Iterator[Text]) -> Iterator[Text]:
        """The same texts; those that loops are looked for in are kept."""
        chosen = None if sum(self.lengths) <= MOST_TOKENS else set(spread(self.lengths, MOST_TOKENS))
        for number, text in enumerate(texts):
            if chosen is None or number in chosen:
                self._keep(text)
            yield text

    @cached_property
    def _spelling(self) -> ByTokenizer:
        return ByTokenizer(PredictorTokens(self.predictor, name=self.predictor.identity.name))

    def _keep(self, text: Text) -> None:
        ids: Int[np.ndarray, " completion"] = text.completion.astype(np.int32)
        if not text.drawn.all():
            ids, self.n_undrawn = without_undrawn(ids, text.drawn), self.n_undrawn + 1
        kept = self._gathering
        kept.completions.append(ids)
        kept.prompts.append(text.prompt.astype(np.int32))
        kept.ended.append(ended(text.finish_reason, text.completion, self._spelling))
        kept.groups.append(text.group)
        kept.names.append(f"row {text.row}")

    def loops(self, *, name: str, format: str) -> Finding:
        """The finding of `freerun loops`, without real text beside it. Takes what was kept apart."""
        n, n_all = len(self._gathering.completions), len(self.lengths)
        part = f"Loops were looked for in {n:,} of {n_all:,} completions, spread evenly over the file, so that memory is bounded."
        own = self._gathering.finish(
            name=name,
            format=format,
            spelling=self._spelling,
            undrawn=self.n_undrawn,
            notes=() if n == n_all else (part,),
        )
        return judge_loops(Sides(own, None, name)).finding
