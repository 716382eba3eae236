"""The verdict on text without ids, and the law that it came from: every answer is held against texts drawn from that very law."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from freerun.errors import TooFewDocuments
from freerun.jobs.verify.causes import LEAST_FOR_BEGINNINGS, Search, try_all
from freerun.jobs.verify.drawn_again import OWN_TEXTS, Compared, OwnTexts, batches, compared
from freerun.jobs.verify.reading import Reading
from freerun.jobs.verify.texts import Survey, Text
from freerun.predictors.base import Predictor
from freerun.predictors.rules import SamplingRule
from freerun.records.sample_scores import ScoreFolder
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.verify import Candidate, Cause, TextComparison
from freerun.stats.verification.battery import ALPHA
from freerun.stats.verification.exchange import LEAST_GROUPS, Exchange, exchange_test
from freerun.stats.verification.likelihood import Fit, fit_and_test, halves

MIXED_IN = 0.02
"""Share of the model's own law in every candidate for text that was tokenised again: so many tokens may be none that was drawn."""
_KEYS_APART = 1 << 32


class TextsBeside(Protocol):
    """Who puts texts of a rule's own beside given ones."""

    def say(self, words: str, /) -> None: ...

    def groups(
        self, name: str, predictor: Predictor, rule: SamplingRule, texts: Sequence[Text], *, turn: int = 0
    ) -> list[Compared]: ...


@dataclass(frozen=True, eq=False)
class OwnText:
    """Draws the law's own texts; a batch that was drawn is recorded, and not drawn again."""

    folder: ScoreFolder
    key: str
    reading: Reading
    seed: int
    tell: Callable[[str], None]
    on_tokens: Callable[[int], None]

    def say(self, words: str, /) -> None:
        self.tell(words)

    def groups(
        self, name: str, predictor: Predictor, rule: SamplingRule, texts: Sequence[Text], *, turn: int = 0
    ) -> list[Compared]:
        """Every text with own ones after its prompt; `turn` keeps draws for one purpose apart from those for another."""
        own = OwnTexts(predictor, self.reading, rule, self.seed, turn * _KEYS_APART)
        words = [rule.describe(), predictor.identity.fingerprint, self.seed, [t.row for t in texts]]
        key = f"{self.key}-{json.dumps(words)}"
        made: list[Compared] = []
        for number, batch in enumerate(batches(texts)):
            stage = f"{name}-{number:03d}"
            held = self.folder.stage(stage, key)
            if held is None:
                fresh = compared(own, batch, on_tokens=self.on_tokens)
                self.folder.write_stage(stage, key, to_json(fresh))
                made += fresh
            else:
                made += [from_json(Compared, group) for group in held]
        return made


def held_against_own(groups: Sequence[Compared], *, seed: int, floor_nats: float) -> Exchange | None:
    """None where there are too few groups for a verdict."""
    if len(groups) < LEAST_GROUPS:
        return None
    return exchange_test([g.sums for g in groups], seed=seed, floor_nats=floor_nats)


def comparison_of(groups: Sequence[Compared], reading: Reading) -> TextComparison:
    """What was compared with what, as counts."""
    drawn = sum(g.n_drawn for g in groups)
    return TextComparison(
        n_prompts=len(groups),
        n_own=OWN_TEXTS,
        n_compared=sum(g.sums[0].n_tokens for g in groups),
        n_there=sum(g.n_there for g in groups),
        changed_share=sum(g.n_changed for g in groups) / max(drawn, 1),
        stripped=reading.stripped,
    )


# ---- from which law then? --------------------------------------------------------------------------------------------


def find_text_cause(found: Survey, search: Search, own: TextsBeside) -> Cause:
    """A beginning that was not drawn, or the likeliest law where its own texts cannot be told from the given ones."""
    beginning = found.n_same_beginning if found.n_texts >= LEAST_FOR_BEGINNINGS else 0
    model = search.variants[0]
    if beginning:
        own.say("are the texts draws after their first tokens?")
        later = [_begun(t, beginning) for t in model.texts if len(t.completion) > beginning]
        groups = own.groups("after-beginning", model.predictor, search.declared.rule, later, turn=1)
        held = held_against_own(groups, seed=search.seed, floor_nats=search.floor_nats)
        if held is not None and held.p_beyond_floor >= ALPHA:
            return Cause("beginning_not_drawn", beginning_tokens=beginning)
    tried = try_all(search)
    steps = np.array([len(c.steps) + (c.law != "model") for c in tried.names])
    fit = halves(tried.sequence, search.seed)
    try:
        best = fit_and_test(tried.candidates, tried.declared, steps, tried.sequence, fit)
    except TooFewDocuments:
        return Cause("not_searched")
    variant, rule = tried.rules[best.candidate]
    name = tried.names[best.candidate]
    if best.log_e <= -np.log(ALPHA):
        return Cause("none_of_these", n_fit_tokens=best.n_fit, n_test_tokens=best.n_test, held_by="own_texts")
    own.say(f"drawing texts at {name.words}, and holding the given ones against them")
    others = [variant.texts[i] for i in np.unique(tried.sequence[~fit])]
    texts = others if len(others) >= LEAST_GROUPS else list(variant.texts)
    held = held_against_own(
        own.groups("cause", variant.predictor, rule, texts, turn=2), seed=search.seed, floor_nats=search.floor_nats
    )
    also = tuple(tried.names[j] for j in best.also[:4])
    return _cause(name, also, best, None if held is None else held.p_beyond_floor)


def _begun(text: Text, n: int) -> Text:
    """The same with its first tokens taken for a part of the prompt."""
    columns = {name: getattr(text, name)[n:] for name in ("completion", "drawn", "reported_nats", "trainer_nats")}
    return replace(text, prompt=np.concatenate([text.prompt, text.completion[:n]]), **columns)


def _cause(name: Candidate, also: tuple[Candidate, ...], best: Fit, fit_p: float | None) -> Cause:
    kind = "other_law" if name.law != "model" else "rule"
    return Cause(
        kind if fit_p is not None and fit_p >= ALPHA else "none_of_these",  # type: ignore[arg-type]
        candidate=name,
        also=also,
        log_e=best.log_e,
        gain_nats=None if best.gain_nats is None else best.gain_nats.value,
        gain_low=None if best.gain_nats is None else best.gain_nats.low,
        gain_high=None if best.gain_nats is None else best.gain_nats.high,
        fit_p=fit_p,
        n_fit_tokens=best.n_fit,
        n_test_tokens=best.n_test,
        held_by="own_texts",
    )
