"""Which rule is named of a file of text: the code of `freerun verify`, on texts of the pool that were read already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freerun.jobs.verify.causes import Columns, Search, Variant
from freerun.jobs.verify.drawn_again import OWN_TEXTS, Compared
from freerun.jobs.verify.scoring import UnitScores
from freerun.jobs.verify.text_samples import MIXED_IN, find_text_cause
from freerun.jobs.verify.texts import Survey, Text
from freerun.predictors.base import Predictor
from freerun.predictors.rules import SamplingRule
from freerun.predictors.token_laws import Declared
from freerun.results.verify import Cause
from studies.verify_text.pool import OTHER
from studies.verify_text.scored import Candidates, Readings

GIVEN_DRAWS = (0, 1)
"""Draws of a rule that stand in files; the others stand beside given texts as the rule's own."""
_BESIDE = range(len(GIVEN_DRAWS), OTHER)


@dataclass(frozen=True, eq=False)
class TextFile:
    """A file: texts of one rule, by prompt and draw."""

    rule: SamplingRule
    where: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class LookedUp:
    """Passes over texts whose candidates are kept."""

    of: dict[int, Candidates]

    def columns(self, variant: Variant, rules: Sequence[SamplingRule], *, penalties_at: float | None) -> Columns:
        parts = [self.of[text.row] for text in variant.texts]
        sequence = np.repeat(np.arange(len(parts)), [len(p.plain) for p in parts])
        log_prob = np.concatenate([p.log_prob for p in parts])
        assert log_prob.shape[1] >= len(rules)
        return Columns(sequence, log_prob, np.concatenate([p.plain for p in parts]))

    def scores(self, variant: Variant, declared: Declared, numbers: Sequence[int]) -> UnitScores:
        raise NotImplementedError("text is held against texts")


@dataclass(frozen=True, eq=False)
class KeptTexts:
    """The pool's texts in the place of those that the law would draw; of rules that are not in it there are none."""

    readings: Readings
    rules: Sequence[SamplingRule]
    given: TextFile
    rng: np.random.Generator

    def say(self, _: str) -> None:
        return None

    def groups(
        self, name: str, predictor: Predictor, rule: SamplingRule, texts: Sequence[Text], *, turn: int = 0
    ) -> list[Compared]:
        """Each given text with the rule's own after its prompt, stopped at the same number of tokens."""
        if rule not in self.rules:
            return []
        mine, own = self.readings.reads(self.given.rule), self.readings.reads(rule)
        made = []
        for text in texts:
            prompt, draw = divmod(text.row, len(mine[0]))
            beside = self.rng.permutation(_BESIDE if len(own[prompt]) == OTHER else len(own[prompt]))[:OWN_TEXTS]
            members = [mine[prompt][draw], *(own[prompt][int(k)] for k in beside)]
            n = min(m.whole for m in members)
            if n >= 2:
                sums = tuple(m.sums(n) for m in members)
                made.append(Compared(sums, members[0].tokens.n_tokens, 0, 0))
        return made


def cause_of(
    readings: Readings,
    candidates: dict[int, Candidates],
    file: TextFile,
    rules: Sequence[SamplingRule],
    seed: int,
    rng: np.random.Generator,
) -> Cause:
    """The cause of a file that was rejected; of `rules` the pool has texts."""
    texts = [readings.texts(file.rule)[prompt][draw] for prompt, draw in file.where]
    model = readings.pool.model.with_lead(())
    search = Search(
        declared=readings.declared,
        variants=(Variant("model", model, texts),),
        passes=LookedUp(candidates),
        recorded_nats=np.concatenate([candidates[t.row].plain for t in texts]),
        seed=seed,
        floor_nats=0.0,
        say=lambda _: None,
        mixed_in=MIXED_IN,
    )
    return find_text_cause(Survey(), search, KeptTexts(readings, rules, file, rng))


def words_of(cause: Cause) -> str:
    """What was named, as a column of a table."""
    if cause.kind == "rule" and cause.candidate is not None:
        return cause.candidate.words
    nearest = "" if cause.candidate is None else f", nearest {cause.candidate.words}"
    return f"none of these{nearest}"
